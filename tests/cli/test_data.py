"""`flava-parts data`: index, check, stats, preview and pack, on runs and on files that name a source."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bad_pictures import BAD, encoded, gradient
from conftest import Run
from limits import file_size_limit
from PIL import Image
from tars import write_tar

from flava_parts.data.sources.emoji import Emoji
from flava_parts.data.sources.shards import Shards

PICTURE = encoded(Image.fromarray(gradient()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A table with three good rows of two pictures and three bad rows, and the file that names it."""
    for name, content in {
        "a": PICTURE,
        "b": encoded(Image.new("RGB", (64, 48))),
        "cut": BAD["cut-off PNG"][0](),
    }.items():
        (tmp_path / f"{name}.png").write_bytes(content)
    rows = ["a.png,a red box", "b.png,black", "a.png,one more caption of it", "cut.png,x", "none.png,x", "gone.png,x"]
    (tmp_path / "t.csv").write_text("\n".join(["picture,caption", *rows]))
    (tmp_path / "source.yaml").write_text("source: {type: flava.table, file: t.csv, folder: .}\n")
    return tmp_path


def test_check_lists_what_is_broken_by_reason(run: Run, folder: Path) -> None:
    """And fails if anything is."""
    code, printed, _ = run("data", "check", "source.yaml")

    assert 1 == code
    assert printed.splitlines() == [
        "5 samples, 3 of them cannot be used",
        "reason        samples",
        "missing-file        2",
        "truncated           1",
        "missing-file: t.csv:6: ./none.png: no picture could be read (No such file or directory)",
        "missing-file: t.csv:7: ./gone.png: no picture could be read (No such file or directory)",
        "truncated: t.csv/cut.png: no picture could be read (image file is truncated)",
    ]


def test_check_as_json_names_every_sample(run: Run, folder: Path) -> None:
    code, printed, _ = run("data", "check", "source.yaml", "--json")
    facts = json.loads(printed)

    assert (1, 5, {"missing-file": 2, "truncated": 1}) == (code, facts["checked"], facts["bad"])
    assert ["cut.png", "none.png", "gone.png"] == [sample["key"] for sample in facts["samples"]]


def test_check_of_a_good_stream_is_done(run: Run) -> None:
    assert (0, "9 samples, 0 of them cannot be used\n") == run(
        "data", "check", "flava.emoji", "--stream", "texts", "--at-most", "9"
    )[:2]


def test_check_of_shards_counts_refused_members(run: Run, tmp_path: Path) -> None:
    """They are in no sample, and worth knowing of."""
    write_tar(tmp_path / "a.tar", {"1.png": PICTURE, "1.txt": b"x", "../2.png": PICTURE}, others=[("3.png", b"2")])
    (tmp_path / "s.yaml").write_text("source: {type: flava.shards, shards: a.tar}\n")
    assert "2 members" not in run("data", "index", "a.tar")[1]
    code, printed, _ = run("data", "check", "s.yaml")

    assert 1 == code
    assert printed.endswith("1 members of shards are not used: link\n1 members of shards are not used: parent-name\n")


def test_index_goes_on_where_a_shard_is_broken(run: Run, tmp_path: Path) -> None:
    """The good ones get their index; the broken one is named; the exit code is 1."""
    write_tar(tmp_path / "a.tar", {"1.png": PICTURE, "1.txt": b"one"})
    write_tar(tmp_path / "c.tar", {"2.png": PICTURE, "2.txt": b"two"})
    (tmp_path / "b.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:700])
    code, printed, said = run("data", "index", "?.tar")

    assert (1, "2 shards, 2 samples\n") == (code, printed)
    assert "b.tar: was cut off: a tar file ends with empty blocks; write or download it anew" in said
    assert ["a.tar", "a.tar.index", "b.tar", "c.tar", "c.tar.index"] == sorted(p.name for p in tmp_path.iterdir())
    assert 2 == len(Shards(shards="{a,c}.tar"))
    assert {"shards": 1, "samples": 1, "refused": {}, "broken": {}} == json.loads(
        run("data", "index", "a.tar", "--json")[1]
    )
    assert 2 == run("data", "index", "none*.tar")[0]


def test_an_index_is_replaced_in_one_step(tmp_path: Path) -> None:
    """A process that is killed while it writes one leaves the old one whole, at every step of the way."""
    path = write_tar(tmp_path / "a.tar", {"1.txt": b"one"})
    code = (
        "import os, sys\nfrom flava_parts.data.sources.shard_index import write_index\n"
        "def end(*_): os._exit(9)\n"
        "if sys.argv[2]: setattr(os, sys.argv[2], end)\nwrite_index(sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", code, path, ""], check=True)
    before = (tmp_path / "a.tar.index").read_bytes()
    write_tar(path, {"1.txt": b"one", "2.txt": b"two"})
    for step in ("fsync", "replace"):
        assert 9 == subprocess.run([sys.executable, "-c", code, path, step]).returncode
        assert before == (tmp_path / "a.tar.index").read_bytes()


def test_stats_measure_pictures_and_captions(run: Run, folder: Path) -> None:
    """All captions of a picture count; pictures as they are upright; bad samples are counted apart."""
    code, printed, _ = run("data", "stats", "source.yaml", "--json")
    facts = json.loads(printed)

    assert (0, 5, 5, 2) == (code, facts["samples"], facts["looked at"], facts["bad"])
    assert (3, 3, 4) == (facts["with a picture"], facts["with a caption"], facts["captions"])
    assert {"least": 30, "median": 64, "most": 99} == {
        name: facts["width of each"][name] for name in ("least", "median", "most")
    }
    assert (1, 5) == (facts["words of each"]["least"], facts["words of each"]["most"])
    assert 3 == facts["tokens of each"]["least"]
    assert "captions of over 77 tokens, which are cut       0\n" in run("data", "stats", "source.yaml")[1]


def test_preview_draws_pictures_captions_and_faults(run: Run, folder: Path) -> None:
    """A PNG of both kinds of streams, and of samples that cannot be used; the same each time."""
    for number, arguments in enumerate((["source.yaml"], ["flava.emoji", "--stream", "texts"], ["source.yaml"])):
        assert (0, f"drawn: {number}.png\n") == run(
            "data", "preview", *arguments, "--count", "6", "--out", f"{number}.png"
        )[:2]
        with Image.open(folder / f"{number}.png") as sheet:
            assert sheet.width > 1000
    assert (folder / "0.png").read_bytes() == (folder / "2.png").read_bytes() != (folder / "1.png").read_bytes()
    assert (
        "nowhere/x.png: there is no folder nowhere"
        in run("data", "preview", "source.yaml", "--out", "nowhere/x.png")[2]
    )


def test_a_preview_is_whole_or_what_it_was(run: Run, folder: Path) -> None:
    """A folder instead of a file, a full disk: one line each, and nothing else is left behind."""
    (folder / "p.png").write_bytes(b"before")
    files = sorted(folder.iterdir())
    for out in (".", str(folder)):
        assert (2, "", f"{out}: is a folder; name the PNG file to write\n") == run(
            "data", "preview", "source.yaml", "--out", out
        )
    with file_size_limit(8192):
        code, _, said = run("data", "preview", "source.yaml", "--out", "p.png")

    assert (2, "p.png: cannot be written (File too large)\n") == (code, said)
    assert (files, b"before") == (sorted(folder.iterdir()), (folder / "p.png").read_bytes())


def test_pack_writes_what_was_there(run: Run, folder: Path) -> None:
    """Every good sample, its picture byte by byte and all its captions; what was left out is counted."""
    code, printed, said = run("data", "pack", "source.yaml", "--out", "packed")
    source = Shards(shards="packed/*.tar")

    assert (0, "2 samples in 1 shards: packed/shard-*.tar\n") == (code, printed)
    assert {"left out: 2 samples, missing-file", "left out: 1 samples, truncated"} == set(said.splitlines())
    assert ("a.png", PICTURE, ("a red box", "one more caption of it")) == source.record(0)[:3]
    assert 2 == run("data", "pack", "source.yaml", "--out", "other", "--on-error", "raise")[0]
    assert "holds shards already" in run("data", "pack", "source.yaml", "--out", "packed")[2]


def test_pack_takes_a_stream_of_a_run(run: Run, tmp_path: Path) -> None:
    """With changes to it."""
    change = "data.streams.paired.source.split=held_out"
    assert 0 == run("data", "pack", "flava.emoji", "--stream", "paired", "--set", change, "--out", "packed")[0]
    packed, emoji = Shards(shards="packed/*.tar"), Emoji(split="held_out")

    assert len(emoji) == len(packed)
    for index in (0, 100, 204):
        one, other = emoji.sample(index), packed.sample(index)
        assert (one.key, one.text) == (other.key, other.text)
        assert np.array_equal(one.image, other.image)


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (
            "base: flava.emoji",
            (),
            r"has several streams; name one of them with --stream: aligned, paired, images, texts",
        ),
        ("base: flava.emoji", ("--stream", "x"), "has no stream 'x'; name one of them with --stream: aligned"),
        ("base: flava.tiny", (), "a model has no data; give a run, or a file with a source"),
        (
            "source: {type: flava.tabel}",
            (),
            "f.yaml:1:10: source: no source named 'flava.tabel'; did you mean 'flava.table'?",
        ),
        ("source: {type: flava.table, file: x}", (), "f.yaml:1:1: source.folder: is missing and has no default"),
        (
            "source: {type: flava.table, file: x.jsonl, folder: ., picture: '{id:03d}.jpg'}",
            (),
            "f.yaml:1:64: source.picture: a column in a pattern is written {name}, or {name:03} to fill up with zeros",
        ),
        ("source: {type: flava.glosses}", ("--stream", "x"), "names a source and has no streams; leave the option out"),
        ("source: {type: flava.table, file: x.csv, folder: .}", (), "x.csv: cannot be read or written (No such file"),
    ],
)
def test_wrong_files_are_one_line(run: Run, tmp_path: Path, text: str, arguments, message: str) -> None:
    (tmp_path / "f.yaml").write_text(text)
    code, _, said = run("data", "check", "f.yaml", *arguments)

    assert 2 == code
    assert message in said
    assert 1 == len(said.splitlines())
