"""Shards: samples by their index, indexes that do not fit, shards written from other sources."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_pictures import encoded, gradient
from hypothesis import given
from hypothesis import strategies as st
from limits import file_size_limit, opened_below
from PIL import Image
from tars import write_tar

from flava_parts.data.sources.bad_sample import BadSampleError
from flava_parts.data.sources.emoji import Emoji
from flava_parts.data.sources.shard import Shard
from flava_parts.data.sources.shard_index import SUFFIX, ShardIndex, write_index
from flava_parts.data.sources.shard_writer import write_shards
from flava_parts.data.sources.shards import Shards
from flava_parts.data.sources.specs import ShardsSpec
from flava_parts.data.sources.strings import Strings
from flava_parts.data.sources.table import Table
from flava_parts.data.sources.texts import Texts
from flava_parts.errors import InputError, SpecError
from flava_parts.loading import load_run

PICTURE = encoded(Image.fromarray(gradient()))
NAMES = st.text("abc", min_size=1, max_size=4)


def shard(path: Path, members: dict[str, bytes], **options) -> Path:
    """A shard with its index."""
    write_tar(path, members, **options)
    write_index(str(path))
    return path


@given(
    st.dictionaries(st.tuples(NAMES, st.sampled_from(["json", "webp", "seg.png"])), st.binary(max_size=700), min_size=1)
)
def test_reads_what_was_written(tmp_path_factory, members: dict[tuple[str, str], bytes]) -> None:
    """Members that share a stem are one sample, wherever they lie; a suffix starts at the name's first dot.

    By an index that was just made and by the one in the file, which are equal.
    """
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    shard(path, {f"folder.d/{stem}.{suffix}": content for (stem, suffix), content in members.items()})
    for opened in (Shard.scan(str(path)), Shard.open(str(path))):
        stems = list(opened.index.stems)

        assert list(dict.fromkeys(f"folder.d/{stem}" for stem, _ in members)) == stems
        for number, stem in enumerate(stems):
            assert {suffix: content for (name, suffix), content in members.items() if f"folder.d/{name}" == stem} == (
                opened.read(opened.index.members(number))
            )
    opened.file.close()


def test_a_sample_has_picture_captions_and_labels(tmp_path: Path) -> None:
    """Captions are the first of the asked for that are there; one of several is drawn by the generator."""
    shard(
        tmp_path / "a.tar",
        {
            "x/1.png": PICTURE,
            "x/1.txt": b" a plain caption ",
            "x/1.cls": b"2",
            "x/2.JPG": PICTURE,
            "x/2.json": json.dumps({"captions": ["one", "two", "two"], "title": "three"}).encode(),
            "x/2.cls": b"0 1",
        },
    )
    source = ShardsSpec(shards=f"{tmp_path}/*.tar", labels=("cat", "dog", "ant")).build()
    drawn = {source.sample(1, torch.Generator().manual_seed(seed)).text for seed in range(20)}

    assert 2 == len(source)
    assert ["x/1", "x/2"] == [source.sample(index).key for index in range(2)]
    assert [(2,), (0, 1)] == [source.sample(index).labels for index in range(2)]
    assert np.array_equal(gradient(), source.sample(0).image)
    assert " a plain caption " == source.sample(0).text
    assert "one" == source.sample(1).text
    assert {"one", "two"} == drawn
    assert "three" == Shards(shards=f"{tmp_path}/a.tar", captions=["json.description", "json.title"]).sample(1).text


def test_what_is_asked_for_is_what_is_provided(tmp_path: Path) -> None:
    """Pictures alone, texts alone; a file that asks for neither is told where."""
    path = shard(tmp_path / "a.tar", {"1.png": PICTURE, "1.txt": b"text", "2.png": PICTURE})
    pictures, texts = ShardsSpec(shards=str(path), captions=()), ShardsSpec(shards=str(path), pictures=False)
    block = f"{{type: flava.shards, shards: {path}, captions: [], pictures: false}}"
    text = f"base: flava.emoji\ndata: {{streams: {{a: {{source: {block}}}}}}}\n"

    assert ({"image"}, {"text"}) == (pictures.provides, texts.provides)
    assert pictures.build().sample(1).text is None
    assert ("text", None) == (texts.build().sample(0).text, texts.build().sample(0).image)
    with pytest.raises(SpecError, match=r"streams\.a\.source\.captions: without captions and without pictures"):
        load_run(text)


@pytest.mark.parametrize(
    ("members", "reason", "message"),
    [
        ({"1.txt": b"text"}, "missing-picture", "has no picture, but .txt"),
        ({"1.png": PICTURE}, "missing-caption", "has no caption, but .png"),
        ({"1.png": PICTURE, "1.txt": b" \n"}, "empty-caption", "json.captions and txt: empty"),
        ({"1.png": PICTURE, "1.txt": b"\xff\xfe"}, "bad-utf-8", "its .txt is not UTF-8"),
        ({"1.png": PICTURE, "1.json": b"{"}, "bad-json", "its .json is no JSON"),
        ({"1.png": PICTURE, "1.json": b"[" * 100_000}, "bad-json", "its .json is no JSON"),
        ({"1.png": PICTURE, "1.json": b'{"captions": 7}'}, "empty-caption", "json.captions and txt: empty"),
        ({"1.png": b"", "1.txt": b"text"}, "empty-file", "not the beginning of a JPEG, PNG or WebP picture"),
        ({"1.png": PICTURE, "1.txt": b"a", "1.cls": b"cat"}, "bad-label", "its .cls is b'cat', not a number"),
        ({"1.png": PICTURE, "1.txt": b"a", "1.cls": b" "}, "bad-label", "its .cls is b' ', not a number"),
        ({"1.png": PICTURE, "1.txt": b"a", "1.cls": b"0 1"}, "bad-label", "its .cls is 1, but labels are 0 to 0"),
        ({"1.png": PICTURE, "1.txt": b"a", "1.cls": b"-1"}, "bad-label", "its .cls is -1, but labels are 0 to 0"),
    ],
)
def test_bad_samples_are_counted_by_reason(tmp_path: Path, members, reason: str, message: str) -> None:
    """The others of the shard are good."""
    path = shard(tmp_path / "a.tar", members | {"2.png": PICTURE, "2.txt": b"text", "2.cls": b"0"})
    source = Shards(shards=str(path), labels=["cat"])
    with pytest.raises(BadSampleError) as caught:
        source.sample(0)

    assert (reason, str(path), "1") == (caught.value.reason, caught.value.source, caught.value.key)
    assert f"{path}/1: {message}" == str(caught.value)
    assert "text" == source.sample(1).text


def test_filters_name_what_they_do_not_want(tmp_path: Path) -> None:
    """English, more than two words, the description or else the title: the paper's choice of photographs."""
    fields = [
        {"lang": "en", "description": "short one", "title": "a longer title here"},
        {"lang": "en", "description": "a long description", "title": "a title of it"},
        {"lang": "de", "description": "ein langer Text", "title": "x"},
        {"lang": "en", "description": "", "title": "two words"},
    ]
    members = {
        f"{i}.{end}": each
        for i, row in enumerate(fields)
        for end, each in (("png", PICTURE), ("json", json.dumps(row).encode()))
    }
    path = shard(tmp_path / "a.tar", members)
    source = Shards(shards=str(path), captions=["json.description", "json.title"], min_words=3, where={"lang": "en"})
    found = []
    for index in range(len(source)):
        try:
            found.append(source.sample(index).text)
        except BadSampleError as error:
            found.append(error.reason)

    assert ["a longer title here", "a long description", "filtered", "few-words"] == found


def test_shards_without_an_index_are_named_before_any_sample(tmp_path: Path) -> None:
    """Missing, of another shard, no index at all, cut off: each with what to do; and a pattern without files."""
    for name in "abcd":
        shard(tmp_path / f"{name}.tar", {"1.png": PICTURE, "1.txt": b"text"})
    whole = (tmp_path / "c.tar.index").read_bytes()
    (tmp_path / "a.tar.index").unlink()
    write_tar(tmp_path / "b.tar", {"1.png": PICTURE * 100})
    (tmp_path / "c.tar.index").write_bytes(b"{}" * 20)
    (tmp_path / "d.tar.index").write_bytes(whole[:12])
    with pytest.raises(InputError) as caught:
        Shards(shards=f"{tmp_path}/?.tar")
    lines = str(caught.value).splitlines()

    assert lines[0].startswith(f"{tmp_path}/a.tar: has no index (")
    assert lines[1].startswith(f"{tmp_path}/b.tar: has ")
    assert "but its index was written for" in lines[1]
    assert all("is no index of a shard" in line for line in lines[2:4])
    assert f"write the indexes with: flava-parts data index {tmp_path}/a.tar …" == lines[4]
    with pytest.raises(InputError, match=r"none-\*\.tar: matches no file; paths are relative to where"):
        Shards(shards=f"{tmp_path}/none-*.tar")
    with pytest.raises(InputError, match=r"x\.tar: cannot be read or written \(No such file or directory\)"):
        Shards(shards=f"{tmp_path}/x.tar")


def test_an_index_that_points_elsewhere_is_noticed(tmp_path: Path) -> None:
    """Though the shard has the size that it was written for: each member is read with its header."""
    path = shard(tmp_path / "a.tar", {"1.txt": b"x" * 600, "1.png": PICTURE})
    write_tar(path, {"1.png": PICTURE, "1.txt": b"x" * 600})
    with pytest.raises(BadSampleError, match="where the index has it; write that anew with: flava-parts") as caught:
        Shards(shards=str(path)).sample(0)

    assert "stale-index" == caught.value.reason


@given(data=st.data())
def test_a_mutated_index_is_an_error_or_points_elsewhere(tmp_path_factory, data) -> None:
    """Whatever its bytes say, nothing else is raised."""
    folder = tmp_path_factory.mktemp("index")
    path = shard(folder / "a.tar", {f"{i}.{suffix}": b"text" for i in range(3) for suffix in ("txt", "json")})
    content = bytearray((folder / "a.tar.index").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "a.tar.index").write_bytes(content[: data.draw(st.integers(len(content) - 9, len(content)))])
    try:
        source = Shards(shards=str(path), pictures=False, captions=["txt"])
        for index in range(min(len(source), 5)):
            source.sample(index)
    except InputError:
        pass


def test_refused_members_are_counted_in_the_index(tmp_path: Path) -> None:
    """Of two members of one name the first counts."""
    path = tmp_path / "a.tar"
    write_tar(path, [("1.txt", b"one"), ("1.txt", b"two"), ("/2.txt", b"x")], others=[("1.png", b"2"), ("3.txt", b"3")])
    write_index(str(path))
    index = ShardIndex.read(f"{path}{SUFFIX}")

    assert {"absolute-name": 1, "device": 1, "duplicate-name": 1, "link": 1} == index.refused
    assert ["1"] == list(index.stems)
    assert "one" == Shards(shards=str(path), pictures=False).sample(0).text


def test_only_regular_files_are_indexed(tmp_path: Path) -> None:
    """A pipe is not waited for; a link to a shard is as good as that."""
    shard(tmp_path / "a.tar", {"1.txt": b"x"})
    (tmp_path / "link.tar").symlink_to(tmp_path / "a.tar")
    os.mkfifo(tmp_path / "pipe.tar")

    assert 1 == len(write_index(f"{tmp_path}/link.tar"))
    for path in (f"{tmp_path}/pipe.tar", "/dev/zero", str(tmp_path)):
        with pytest.raises(InputError, match=rf"^{path}: is no regular file, but a folder, pipe or device"):
            write_index(path)
    with pytest.raises(InputError, match=r"none\.tar: cannot be read or written \(No such file or directory\)"):
        write_index(f"{tmp_path}/none.tar")


def test_a_sample_is_found_without_reading_it(tmp_path: Path) -> None:
    """Shard and key, also of a sample that is bad."""
    paths = [shard(tmp_path / f"{name}.tar", {f"{name}1.jpg": b"", f"{name}1.txt": b"x"}) for name in "ab"]
    source = Shards(shards=str(tmp_path / "*.tar"))

    assert [f"{paths[0]}: a1", f"{paths[1]}: b1"] == [source.place(index) for index in (0, 1)]


def test_a_source_is_sent_without_what_it_has_opened(tmp_path: Path) -> None:
    """So that a worker process gets names and places, a few bytes a shard."""
    members = {f"{i:05}.txt": b"some text of it" for i in range(2000)}
    for number in range(3):
        shard(tmp_path / f"{number}.tar", members)
    source = Shards(shards=f"{tmp_path}/{{0..2}}.tar", pictures=False)
    source.sample(4001)
    sent = pickle.dumps(source)

    assert len(sent) < 2000
    assert source.sample(5999) == pickle.loads(sent).sample(5999)
    assert 6000 == len(pickle.loads(sent))


def test_no_more_than_so_many_shards_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And those that were closed are opened again."""
    monkeypatch.setattr("flava_parts.data.sources.opened.OPENED", 2)
    for number in range(5):
        shard(tmp_path / f"{number}.tar", {"a.txt": str(number).encode()})
    source = Shards(shards=f"{tmp_path}/*.tar", pictures=False)
    texts = [source.sample(index).text for index in (*range(5), 0, 3)]

    assert ["0", "1", "2", "3", "4", "0", "3"] == texts
    assert len(opened_below(tmp_path)) <= 4  # each has two, with its index


def equal(one, other) -> bool:
    """Whether two samples are the same, their pixels among it."""
    same = (one.image is None and other.image is None) or np.array_equal(one.image, other.image)
    return same and one._replace(image=None) == other._replace(image=None)


def refuse(error: BadSampleError) -> None:
    raise error


def test_written_shards_give_the_same_samples(tmp_path: Path) -> None:
    """Of pixels, of a table with several captions a picture, of texts: pixel for pixel, also where one is drawn."""
    odd = ["a/b.c.png", "ä.png", "..png"]
    (tmp_path / "a").mkdir()
    for name in odd:
        (tmp_path / name).write_bytes(PICTURE)
    (tmp_path / "t.csv").write_text("picture,caption\n" + "".join(f"{n},one\n{n},two\n" for n in odd), encoding="utf-8")
    (tmp_path / "t.txt").write_text("first\nsecond, longer\n")
    emoji = Emoji(split="held_out", tags=0)
    table = Table(file=str(tmp_path / "t.csv"), folder=str(tmp_path))
    for name, source, options in (
        ("emoji", emoji, {"labels": ["x"] * 6}),
        ("table", table, {}),
        ("texts", Texts(files=str(tmp_path / "t.txt")), {"pictures": False}),
    ):
        count, shards = write_shards(source, tmp_path / name, shard_bytes=100_000, bad=refuse)
        packed = Shards(shards=f"{tmp_path / name}/*.tar", **options)

        assert len(source) == count == len(packed)
        assert ("emoji" == name) == (len(shards) > 1)
        for index in range(count):
            for seed in (None, 1, 2):
                generators = [None if seed is None else torch.Generator().manual_seed(seed) for _ in range(2)]
                assert equal(source.sample(index, generators[0]), packed.sample(index, generators[1]))
    assert table.record(0).picture == PICTURE == Shards(shards=f"{tmp_path}/table/*.tar").record(0).picture


def test_writing_leaves_out_what_is_bad_and_never_half_a_shard(tmp_path: Path) -> None:
    """Each bad sample is told; where that raises, nothing stays."""
    (tmp_path / "t.txt").write_text("first\n  \nthird\n")
    source = Texts(files=str(tmp_path / "t.txt"))
    told: list[str] = []
    count, _ = write_shards(source, tmp_path / "good", shard_bytes=10**6, bad=lambda error: told.append(error.reason))

    assert (2, ["empty-caption"]) == (count, told)
    assert ["shard-000000.tar", "shard-000000.tar.index"] == sorted(os.listdir(tmp_path / "good"))
    with pytest.raises(BadSampleError):
        write_shards(source, tmp_path / "none", shard_bytes=10**6, bad=refuse)
    assert [] == os.listdir(tmp_path / "none")
    with pytest.raises(InputError, match="holds shards already, and they are not overwritten"):
        write_shards(source, tmp_path / "good", shard_bytes=10**6, bad=refuse)


def test_keys_that_begin_anew_begin_a_shard(tmp_path: Path) -> None:
    """So that shards of which each counts from 0 keep the names of their samples."""
    for name, numbers in (("a", range(3)), ("b", range(2)), ("c", range(3, 5))):
        shard(tmp_path / f"{name}.tar", {f"{number}.txt": f"{name} {number}".encode() for number in numbers})
    source = Shards(shards=f"{tmp_path}/*.tar", pictures=False)
    count, shards = write_shards(source, tmp_path / "packed", shard_bytes=10**6, bad=refuse)
    packed = Shards(shards=f"{tmp_path}/packed/*.tar", pictures=False)

    assert (7, 2) == (count, len(shards))
    assert [source.record(index) for index in range(7)] == [packed.record(index) for index in range(7)]


def test_a_place_that_cannot_be_written_is_named_and_nothing_stays(tmp_path: Path) -> None:
    """A file instead of a folder; a disk that is full while members are written, and when the shard is closed."""
    (tmp_path / "t.txt").write_text("first\nsecond\n")
    (tmp_path / "file").write_text("")
    source = Texts(files=str(tmp_path / "t.txt"))
    with pytest.raises(InputError, match=r"/file: cannot be read or written \(File exists\)"):
        write_shards(source, tmp_path / "file", shard_bytes=10**6, bad=refuse)
    for number, (full, size) in enumerate([(source, 1000), (Emoji(split="held_out"), 100_000)]):
        with file_size_limit(size), pytest.raises(InputError, match=r"/shard-000000\.tar: .*\(File too large\)"):
            write_shards(full, tmp_path / f"{number}", shard_bytes=10**6, bad=refuse)
        assert [] == os.listdir(tmp_path / f"{number}")


def test_shards_in_an_object_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexed, listed and read through fsspec: here its store in memory."""
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    for name in ("a", "b"):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            member = tarfile.TarInfo("1.txt")
            member.size = 1
            archive.addfile(member, io.BytesIO(name.encode()))
        store.pipe_file(f"/bucket/{name}.tar", file.getvalue())
        write_index(f"memory://bucket/{name}.tar")
    globbed = Shards(shards="memory://bucket/*.tar", pictures=False)
    written = pickle.loads(pickle.dumps(Shards(shards="memory://bucket/{b,a}.tar", pictures=False)))

    assert ["a", "b"] == [globbed.sample(index).text for index in range(2)]
    assert ["b", "a"] == [written.sample(index).text for index in range(2)]
    with pytest.raises(InputError, match=r"nowhere://x/a\.tar: Protocol not known: nowhere"):
        Shards(shards="nowhere://x/a.tar")


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="asks Linux for the memory of this process")
def test_an_index_of_a_million_samples_costs_next_to_nothing(tmp_path: Path) -> None:
    """Its file, which processes share, has less than 100 MB with three members each; a process has 1 MB of its own."""
    count = 1_000_000
    numbers = np.arange(3 * count, dtype=np.int64)
    index = ShardIndex(
        stems=Strings(
            np.frombuffer(b"".join(b"%09d" % number for number in range(count)), dtype=np.uint8),
            9 * np.arange(1, count + 1, dtype=np.int64),
        ),
        firsts=3 * np.arange(count + 1, dtype=np.int64),
        offsets=1024 * numbers + 512,
        sizes=(numbers % 1000).astype(np.uint32),
        suffixes=(numbers % 3).astype(np.uint16),
        names=("jpg", "txt", "json"),
        bytes=3 * 1024 * count,
        refused={},
    )
    (tmp_path / "a.tar.index").write_bytes(index.to_bytes())
    assert (tmp_path / "a.tar.index").stat().st_size < 100_000_000
    before = own_memory()
    mapped = ShardIndex.read(f"{tmp_path}/a.tar.index")
    for number in range(0, count, 71):
        place = 3 * number

        assert f"{number:09}" == mapped.stems[number]
        assert (1024 * place + 1024 + 512, (place + 1) % 1000) == mapped.members(number)["txt"]
    assert own_memory() - before < 1_000_000


def own_memory() -> int:
    """Bytes that this process shares with no file."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return 1000 * int(fields["RssAnon"].split()[0])
