"""A table of captions beside a folder of pictures: three formats, groups, patterns, filters, wrong rows."""

from __future__ import annotations

import csv
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_pictures import encoded, gradient
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from flava_parts.data.sources.bad_sample import BadSampleError
from flava_parts.data.sources.specs import TableSpec
from flava_parts.data.sources.table import Table
from flava_parts.data.sources.table_file import LONGEST, TableFile
from flava_parts.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three pictures."""
    for name in ("a.png", "b.png", "sub/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encoded(Image.fromarray(gradient())))
    return tmp_path


FILES = {
    "t.csv": 'picture,caption\na.png,one\n\nb.png,"two, and ""more"""\na.png,three\nsub/c.png,"over\ntwo lines"\n',
    "t.tsv": 'number\tcaption\tpicture\n1\tone\ta.png\n2\t"two, and ""more"""\tb.png\n3\tthree\ta.png\n'
    '4\t"over\ntwo lines"\tsub/c.png',
    "t.jsonl": '{"picture": "a.png", "caption": ["one", "three"]}\n\n'
    '{"picture": "b.png", "caption": "two, and \\"more\\"", "number": 2}\n'
    '{"picture": "sub/c.png", "caption": "over\\ntwo lines"}\n',
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_the_three_formats_say_the_same(folder: Path, name: str, newline: str, encoding: str) -> None:
    """Pictures in the order in which they come first, each with all its captions; other columns are not looked at."""
    (folder / name).write_text(FILES[name], encoding=encoding, newline=newline)
    over = "over\r\ntwo lines" if newline == "\r\n" and name != "t.jsonl" else "over\ntwo lines"
    source = TableSpec(file=str(folder / name), folder=str(folder)).build()

    assert [
        ("a.png", ("one", "three")),
        ("b.png", ('two, and "more"',)),
        ("sub/c.png", (over,)),
    ] == [(source.record(index).key, source.record(index).captions) for index in range(len(source))]
    assert np.array_equal(gradient(), source.sample(2).image)


def test_the_generator_draws_a_caption(folder: Path) -> None:
    """Each comes up; without a generator it is the first; one caption costs the generator nothing."""
    (folder / "t.csv").write_text(FILES["t.csv"])
    source = pickle.loads(pickle.dumps(Table(file=str(folder / "t.csv"), folder=str(folder))))
    generator = torch.Generator().manual_seed(0)
    drawn = [source.sample(0, generator).text for _ in range(20)]
    state = generator.get_state()
    source.sample(1, generator)

    assert {"one", "three"} == set(drawn)
    assert "one" == source.sample(0).text
    assert torch.equal(state, generator.get_state())


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=8)


@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=6), delimiter=st.sampled_from([",", "\t"]))
def test_rows_are_those_that_were_written(tmp_path_factory, rows, delimiter: str) -> None:
    """Whatever quotes, delimiters and ends of lines are in the cells: each row is read where it lies."""
    path = tmp_path_factory.mktemp("table") / ("t.csv" if delimiter == "," else "t.tsv")
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows([("a", "b"), *rows])
    path.write_text(file.getvalue(), encoding="utf-8", newline="")
    table = TableFile(str(path))
    order = list(range(len(table)))[::-1]

    assert [{"a": a, "b": b} for a, b in rows][::-1] == [table.row(index) for index in order]
    assert [{"a": a, "b": b} for a, b in rows] == list(table.rows())


def test_a_picture_s_name_is_a_pattern_of_columns(folder: Path) -> None:
    """As RedCaps and the Localized Narratives need it, numbers among them."""
    (folder / "t.jsonl").write_text('{"where": "sub", "id": "c", "caption": "x"}\n')
    (folder / "000007.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "n.jsonl").write_text('{"id": 7, "caption": "x"}\n{"id": "7", "caption": "y"}\n')

    assert "sub/c.png" == Table(file=f"{folder}/t.jsonl", folder=str(folder), picture="{where}/{id}.png").sample(0).key
    assert ("x", "y") == Table(file=f"{folder}/n.jsonl", folder=str(folder), picture="{id:06}.png").record(0).captions


@pytest.mark.parametrize("picture", ["{id:03d}.jpg", "{id", "id}", "{}", "{where}/{{id}}.png"])
def test_a_pattern_in_another_notation_is_refused(picture: str) -> None:
    """Where it stands, not as a column that no row has."""
    with pytest.raises(ValidationError, match=r"is written \{name\}, or \{name:03\} to fill up with zeros"):
        TableSpec(file="t.jsonl", folder=".", picture=picture)


@pytest.mark.parametrize("picture", ["id", "a column: its name", "{id}", "{where}/{id:3}.png", "{id:012}.jpg"])
def test_a_pattern_of_columns_is_taken(picture: str) -> None:
    assert picture == TableSpec(file="t.jsonl", folder=".", picture=picture).picture


def test_filters_are_the_paper_s(folder: Path) -> None:
    """English, more than two words, the description or else the title; a row that is not wanted is no sample."""
    (folder / "t.csv").write_text(
        "name,lang,description,title\n"
        "a.png,en,short one,a longer title here\n"
        "a.png,en,a long description,a title of it\n"
        "b.png,de,ein langer Text,x\n"
        "b.png,en,,two words\n"
        "sub/c.png,en,a b c,\n"
    )
    options = {
        "file": f"{folder}/t.csv",
        "folder": str(folder),
        "picture": "name",
        "captions": ["description", "title"],
    }
    source = Table(**options, min_words=3, where={"lang": "en"})

    assert [("a longer title here", "a long description"), ("a b c",)] == [
        source.record(index).captions for index in range(len(source))
    ]
    assert 3 == len(Table(**options))
    with pytest.raises(InputError, match=r"t\.csv: holds no row that is wanted"):
        Table(**options, min_words=30)


def test_quotation_marks_may_be_characters(folder: Path) -> None:
    """One at the beginning of a cell would enclose all up to the next one."""
    (folder / "t.tsv").write_text('picture\tcaption\na.png\t"hello he said\nb.png\tone\nsub/c.png\ttwo"\n')
    table = {"file": f"{folder}/t.tsv", "folder": str(folder)}
    source = TableSpec(**table, quoting=False).build()

    assert ['"hello he said', "one", 'two"'] == [source.sample(index).text for index in range(3)]
    assert "hello he said\nb.png\tone\nsub/c.png\ttwo" == TableSpec(**table).build().sample(0).text


def test_a_long_cell_is_read_and_one_too_long_is_named(folder: Path) -> None:
    """Python's own limit is 128 KiB."""
    (folder / "t.csv").write_text(f"picture,caption\na.png,short\nb.png,{'x' * 200_000}\n")
    source = Table(file=f"{folder}/t.csv", folder=str(folder))

    assert ["short", "x" * 200_000] == [source.sample(index).text for index in range(2)]
    (folder / "t.csv").write_text(f"picture,caption\na.png,short\nb.png,{'x' * (LONGEST + 1)}\n")
    for quoting, rest in ((True, r"; look for a quotation mark too many, or set `quoting: false`"), (False, "$")):
        with pytest.raises(
            InputError, match=r"t\.csv:3: no row can be read \(it has a cell of over 16,777,216 bytes\)" + rest
        ):
            Table(file=f"{folder}/t.csv", folder=str(folder), quoting=quoting)


def test_columns_are_named_where_the_file_does_not(folder: Path) -> None:
    (folder / "t.tsv").write_text("a red box\ta.png\na blue box\tb.png\n")
    source = Table(file=f"{folder}/t.tsv", folder=str(folder), columns=["caption", "picture"])

    assert ["a red box", "a blue box"] == [source.sample(index).text for index in range(2)]


@pytest.mark.parametrize(
    ("row", "reason", "message"),
    [
        (b"a.png", "bad-row", "has 1 cells for 2 columns"),
        (b"a.png,one,two", "bad-row", "has 3 cells for 2 columns"),
        (b"a.png,\xff", "bad-utf-8", "is not UTF-8"),
        (b"a.png,  ", "empty-caption", "caption: empty"),
        (b",text", "missing-picture", "has no picture"),
        (b"none.png,text", "missing-file", "none.png: no picture could be read (No such file or directory)"),
        (b"sub,text", "not-a-file", "sub: no picture could be read (Is a directory)"),
        (b"a\0.png,text", "missing-file", "no picture could be read (embedded null byte)"),
        (b"../a.png,text", "outside-folder", "leads out of the folder"),
        (b"/etc/passwd,text", "outside-folder", "leads out of the folder"),
    ],
)
def test_a_wrong_row_is_a_bad_sample_with_its_line(folder: Path, row: bytes, reason: str, message: str) -> None:
    """And the rows around it are good."""
    (folder / "t.csv").write_bytes(b"picture,caption\nb.png,before\n" + row + b"\nsub/c.png,after\n")
    source = Table(file=f"{folder}/t.csv", folder=str(folder))
    with pytest.raises(BadSampleError) as caught:
        source.sample(1)

    assert reason == caught.value.reason
    assert str(caught.value).startswith(f"{folder}/t.csv:3: ")
    assert message in str(caught.value)
    assert (3, "before", "after") == (len(source), source.sample(0).text, source.sample(2).text)


@pytest.mark.parametrize("line", ["{", "7", '"text"', '{"picture": null, "caption": "x"}', "[" * 100_000])
def test_a_wrong_line_of_json_is_a_bad_sample(folder: Path, line: str) -> None:
    (folder / "t.jsonl").write_text(f'{{"picture": "a.png", "caption": "good"}}\n{line}\n')
    source = Table(file=f"{folder}/t.jsonl", folder=str(folder))
    with pytest.raises(BadSampleError, match=r"t\.jsonl:2: ") as caught:
        source.sample(1)

    assert caught.value.reason == ("missing-picture" if "null" in line else "bad-json")
    assert "good" == source.sample(0).text


def test_a_pipe_in_the_folder_does_not_hang(folder: Path) -> None:
    """Nor does a device that a name leads to."""
    import os

    os.mkfifo(folder / "pipe.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "t.csv").write_text("picture,caption\npipe.png,x\nzero.png,x\n")
    source = Table(file=f"{folder}/t.csv", folder=str(folder))
    for index in range(2):
        with pytest.raises(BadSampleError, match="not a file") as caught:
            source.sample(index)
        assert "not-a-file" == caught.value.reason


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.txt", "", r"tables are read from \.csv, \.tsv, \.jsonl; rename the file by what it is"),
        ("t.csv", "picture,text\na.png,x\n", "has no column 'caption'; it has picture, text"),
        ("t.csv", "picture,caption\n", "t.csv: holds no row"),
        (
            "t.csv",
            'picture,caption\na.png,"x\nb.png,y\n',
            r"t.csv:2: no row can be read \(.*end of data\); .*`quoting: false`",
        ),
        ("t.csv", "", "has no column|holds no row"),
    ],
)
def test_a_wrong_file_is_one_line(folder: Path, name: str, content: str, message: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        Table(file=f"{folder}/{name}", folder=str(folder))

    assert 1 == len(str(caught.value).splitlines())
    with pytest.raises(InputError, match=r"none\.csv: cannot be read or written"):
        Table(file=f"{folder}/none.csv", folder=str(folder))


def test_many_rows_take_little_memory(folder: Path) -> None:
    """25 bytes a row, however long its caption is."""
    count = 20_000
    (folder / "t.jsonl").write_text(
        "".join(json.dumps({"picture": f"{i}.png", "caption": "x" * 200}) + "\n" for i in range(count))
    )
    source = Table(file=f"{folder}/t.jsonl", folder=str(folder))

    assert count == len(source)
    assert len(pickle.dumps(source)) < 25 * count
