"""Files of pictures and captions: what they say, and where they are wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flava_parts.errors import InputError
from flava_parts.evaluate.captions import Captioned, read_captions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with four files that are called pictures; nobody looks into them here."""
    (tmp_path / "sub").mkdir()
    for name in ("a.jpg", "b.png", "sub/c.webp", "d, e.jpg"):
        (tmp_path / name).touch()
    return tmp_path


FILES = {
    "c.csv": 'picture,caption\na.jpg,one\nb.png,"two, and ""more"""\na.jpg,three\nsub/c.webp,"over\ntwo lines"\n',
    "c.tsv": 'number\tcaption\tpicture\n1\tone\ta.jpg\n2\t"two, and ""more"""\tb.png\n3\tthree\ta.jpg\n'
    '4\t"over\ntwo lines"\tsub/c.webp\n',
    "c.JSONL": '{"picture": "a.jpg", "caption": ["one", "three"]}\n\n'
    '{"picture": "b.png", "caption": "two, and \\"more\\"", "number": 2}\n'
    '{"picture": "sub/c.webp", "caption": "over\\ntwo lines"}\n',
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_the_three_formats_say_the_same(folder: Path, name: str, newline: str, encoding: str) -> None:
    """Pictures in the order in which they come first, each with all its captions; other columns are not looked at."""
    (folder / name).write_text(FILES[name], encoding=encoding, newline=newline)
    over = "over\r\ntwo lines" if newline == "\r\n" and name != "c.JSONL" else "over\ntwo lines"

    assert [
        Captioned(folder / "a.jpg", ("one", "three")),
        Captioned(folder / "b.png", ('two, and "more"',)),
        Captioned(folder / "sub" / "c.webp", (over,)),
    ] == read_captions(folder / name)


def test_a_caption_that_is_repeated_counts_once(folder: Path) -> None:
    (folder / "c.csv").write_text("picture,caption\na.jpg,one\na.jpg,one\n")

    assert [Captioned(folder / "a.jpg", ("one",))] == read_captions(folder / "c.csv")


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip)


@given(captions=st.lists(TEXTS, min_size=1, max_size=4, unique=True))
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_what_the_standard_library_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, captions: list[str]
) -> None:
    """Whatever the captions are."""
    folder = tmp_path_factory.mktemp("captions")
    (folder / "d, e.jpg").touch()
    with (folder / f"c.{suffix}").open("w", encoding="utf-8", newline="") as file:
        if suffix == "jsonl":
            file.writelines(json.dumps({"picture": "d, e.jpg", "caption": caption}) + "\n" for caption in captions)
        else:
            writer = csv.writer(file, dialect="excel" if suffix == "csv" else "excel-tab")
            writer.writerows([("picture", "caption"), *(("d, e.jpg", caption) for caption in captions)])

    assert [Captioned(folder / "d, e.jpg", tuple(captions))] == read_captions(folder / f"c.{suffix}")


JSON_FORM = 'should be {"picture": "a.jpg", "caption": "…"}, or a list of captions'


@pytest.mark.parametrize(
    ("name", "content", "messages"),
    [
        (
            "c.csv",
            "picture,caption\na.jpg,\n,two\nz.jpg,three\nb.png\n\nb.png,five\n",
            [
                "c.csv:2: caption is empty",
                "c.csv:3: picture is empty",
                "c.csv:4: there is no picture 'z.jpg'; paths are relative to the file's folder",
                "c.csv:5: has 1 of at least 2 columns",
            ],
        ),
        (
            "c.csv",
            "file,text\na.jpg,one\n",
            ["c.csv:1: the first line should name the columns picture and caption; there is no picture and no caption"],
        ),
        ("c.csv", 'picture,caption\na.jpg,"one\ntwo"\nb.png,"two" three\n', ["c.csv:4: cannot be read: "]),
        ("c.csv", 'picture,caption\na.jpg,"one\n', ["c.csv:2: cannot be read: unexpected end of data"]),
        ("c.csv", "picture,caption\nsub,one\n", ["c.csv:2: there is no picture 'sub'; "]),
        (
            "c.csv",
            "picture,caption\n" + 7 * "z.jpg,one\n",
            [*(f"c.csv:{n}: there is" for n in range(2, 7)), "c.csv: and 2 more"],
        ),
        ("c.csv", "", ["c.csv: holds no picture with a caption"]),
        ("c.tsv", "picture\tcaption\n", ["c.tsv: holds no picture with a caption"]),
        (
            "c.jsonl",
            '[1]\n{"picture": 1, "caption": "a"}\n{"picture": "a.jpg"}\n{"picture": "a.jpg", "caption": ["one", 2]}\n'
            '{"picture": "a.jpg", "caption": []}\n',
            [*(f"c.jsonl:{n}: {JSON_FORM}" for n in range(1, 5)), "c.jsonl:5: caption is empty"],
        ),
        ("c.jsonl", '{"picture":\n', ["c.jsonl:1: is no JSON: Expecting value"]),
        ("c.jsonl", "[" * 100_000, ["c.jsonl:1: is no JSON: "]),
        ("c.txt", "a.jpg one\n", ["c.txt: captions are read from .csv, .tsv, .jsonl; rename the file by what it is"]),
    ],
)
def test_what_is_wrong_is_located(folder: Path, name: str, content: str, messages: list[str]) -> None:
    """Each fault with file and line, the first five of them."""
    (folder / name).write_text(content)
    with pytest.raises(InputError) as caught:
        read_captions(folder / name)
    lines = str(caught.value).replace(f"{folder}/", "").splitlines()

    assert len(messages) == len(lines)
    assert [True] * len(lines) == [line.startswith(start) for line, start in zip(lines, messages, strict=True)], lines


def test_what_is_no_text_is_located(folder: Path) -> None:
    (folder / "c.csv").write_bytes("picture,caption\na.jpg,one\nb.png,zwölf\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"c\.csv:3: is not UTF-8; save it as that$"):
        read_captions(folder / "c.csv")
    with pytest.raises(InputError, match=r"none\.csv: cannot be read: No such file or directory$"):
        read_captions(folder / "none.csv")
