"""The tar reader: the WebDataset layout, and files that are none."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flava_parts.data.sources.tar import Tar
from flava_parts.errors import InputError

NAMES = st.text("abc", min_size=1, max_size=4)


def write(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        folder = tarfile.TarInfo("folder.d")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@given(
    st.dictionaries(st.tuples(NAMES, st.sampled_from(["json", "webp", "seg.png"])), st.binary(max_size=700), min_size=1)
)
def test_reads_what_was_written(tmp_path_factory, members: dict[tuple[str, str], bytes]) -> None:
    """Members that share a stem are one sample, in the order of the file; a suffix starts at the name's first dot."""
    path = tmp_path_factory.mktemp("tar") / "samples.tar"
    tar = Tar(write(path, {f"folder.d/{stem}.{suffix}": content for (stem, suffix), content in members.items()}))

    assert list(dict.fromkeys(f"folder.d/{stem}" for stem, _ in members)) == list(tar.stems)
    for (stem, suffix), content in members.items():
        assert content == tar.read(f"folder.d/{stem}", suffix)


def test_what_is_no_tar_file_is_named(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.tar", {"a.txt": b"x" * 2000, "b.txt": b"y"}).read_bytes()
    for name, content in {"text.tar": b"no tar" * 200, "cut.tar": whole[:1100], "none.tar": None}.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}: no tar file could be read \("):
            Tar(path)


def test_a_missing_member_is_named(tmp_path: Path) -> None:
    tar = Tar(write(tmp_path / "samples.tar", {"a.json": b"{}"}))
    for stem, suffix in (("a", "webp"), ("b", "json")):
        with pytest.raises(InputError, match=f"samples.tar: sample '{stem}' has no member {stem}.{suffix}"):
            tar.read(stem, suffix)
