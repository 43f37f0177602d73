"""The tar reader: equal to the standard library's, and stricter with files that are none."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tars import write_tar

from flava_parts.data.sources.tar import BLOCK, Member, members_of
from flava_parts.errors import InputError

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=200).filter(
    lambda name: not name.startswith("/") and ".." not in name.split("/") and name.rstrip("/") == name
)
FORMS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def members(path: Path) -> list[Member]:
    with path.open("rb") as file:
        return list(members_of(file, str(path)))


@pytest.mark.parametrize("form", FORMS[1:])
@given(files=st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=5))
def test_names_and_places_are_those_of_the_standard_library(tmp_path_factory, form, files) -> None:
    """In the GNU and the pax form, which both write any name of any length."""
    path = write_tar(tmp_path_factory.mktemp("tar") / "a.tar", files, form=form)
    with tarfile.open(path) as archive:
        expected = [Member(member.name, member.offset_data, member.size) for member in archive]

    assert expected == members(path)
    assert [(name, len(content)) for name, content in files] == [(member.name, member.size) for member in members(path)]


def test_ustar_names_are_put_together(tmp_path: Path) -> None:
    """Up to 255 bytes in two fields."""
    name = f"{'folder/' * 20}picture.jpg"
    path = write_tar(tmp_path / "a.tar", {name: b"x"}, form=tarfile.USTAR_FORMAT)

    assert [Member(name, BLOCK, 1)] == members(path)


def test_what_is_no_plain_file_inside_is_refused(tmp_path: Path) -> None:
    """Links, devices, and names that lead elsewhere are told by their reason; folders are nothing."""
    others = [
        ("symbolic.jpg", tarfile.SYMTYPE),
        ("hard.jpg", tarfile.LNKTYPE),
        ("character.jpg", tarfile.CHRTYPE),
        ("block.jpg", tarfile.BLKTYPE),
        ("pipe.jpg", tarfile.FIFOTYPE),
        ("folder", tarfile.DIRTYPE),
    ]
    files = {"/etc/passwd": b"root", "../up.jpg": b"x", "a/../../b.jpg": b"x", "good..jpg": b"x"}
    found = {member.name: member.refused for member in members(write_tar(tmp_path / "a.tar", files, others=others))}

    assert {
        "symbolic.jpg": "link",
        "hard.jpg": "link",
        "character.jpg": "device",
        "block.jpg": "device",
        "pipe.jpg": "device",
        "/etc/passwd": "absolute-name",
        "../up.jpg": "parent-name",
        "a/../../b.jpg": "parent-name",
        "good..jpg": None,
    } == found


def test_what_is_no_whole_tar_file_is_named(tmp_path: Path) -> None:
    """Another file, nothing, one that ends early wherever that is, one with a damaged header."""
    whole = write_tar(tmp_path / "whole.tar", {"a.txt": b"x" * 2000, "b.txt": b"y"}).read_bytes()
    damaged = whole[:2600] + b"9" + whole[2601:]
    wrong = {
        "text.tar": (b"no tar" * 200, "is no tar file; write it anew"),
        "empty.tar": (b"", "is no tar file; write or download it anew"),
        "damaged.tar": (damaged, "has no member's header at byte 2560, so it is damaged; write it anew"),
    }
    for end in (700, 2559, 2560, 3000, 3584):
        wrong[f"cut-{end}.tar"] = (whole[:end], "was cut off: a tar file ends with empty blocks; write or download")
    for name, (content, message) in wrong.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as caught:
            members(tmp_path / name)

        assert str(caught.value).startswith(f"{tmp_path / name}: {message}"), name


def header(kind: bytes, size: bytes) -> bytes:
    """A header with any size, its sum of bytes right."""
    block = bytearray(tarfile.TarInfo("a.txt").tobuf(tarfile.GNU_FORMAT)[:BLOCK])
    block[156:157], block[124:136], block[148:156] = kind, size, b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


@pytest.mark.parametrize("kind", [b"0", b"L", b"x"])
@pytest.mark.parametrize(
    "size",
    [b"\xff" * 11 + b"\x00", b"\xff" * 12, b"\x80" + struct.pack(">3xQ", 2**63), b"-0000000777\0", b"77777777777\0"],
    ids=["negative", "minus one", "far too large", "with a sign", "8 GB"],
)
def test_sizes_that_lead_in_circles_or_far_away_end_at_once(kind: bytes, size: bytes) -> None:
    """No member begins before the end of the one before, and nothing is reserved for what a header claims."""
    content = header(kind, size) + bytes(1024)
    with pytest.raises(InputError, match=r"a\.tar: (is no tar file|was cut off|has a name of|cannot be read)"):
        list(members_of(io.BytesIO(content), "a.tar"))


@given(data=st.data())
def test_mutated_files_raise_nothing_else(data) -> None:
    """Bytes overwritten: members, or an `InputError`."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("a.txt", "ä" * 120):
            archive.addfile(tarfile.TarInfo(name))
    content = bytearray(file.getvalue()[: 8 * BLOCK])
    for _ in range(3):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = list(members_of(io.BytesIO(bytes(content)), "a.tar"))
    except InputError:
        return
    assert all(member.offset <= len(content) for member in found)
