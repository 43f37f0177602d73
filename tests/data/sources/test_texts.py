"""Texts in files: lines and fields, from several files, and those that cannot be used."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits import opened_below

from flava_parts.data.sources.bad_sample import BadSampleError
from flava_parts.data.sources.lines import Lines
from flava_parts.data.sources.specs import TextsSpec
from flava_parts.data.sources.texts import Texts
from flava_parts.errors import InputError


@given(
    content=st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r\n", b" ", "ä".encode()]), max_size=30).map(b"".join),
    chunk=st.integers(1, 9),
    bom=st.booleans(),
)
def test_lines_are_those_of_the_file(tmp_path_factory, content: bytes, chunk: int, bom: bool) -> None:
    """All but the blank ones, whatever they end in, wherever the file is cut while it is looked through."""
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf" * bom + content)
    expected = [
        (n, line.removesuffix(b"\r")) for n, line in enumerate(content.split(b"\n"), 1) if line not in (b"", b"\r")
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flava_parts.data.sources.lines.CHUNK", chunk)
        lines = Lines(str(path))

    assert len(expected) == len(lines)
    assert expected == [(lines.numbers[index], lines[index]) for index in range(len(lines))]


def test_texts_come_from_lines_and_from_fields(tmp_path: Path) -> None:
    """Of several files, in the order of their names; a key is a line, behind its file where there are several."""
    (tmp_path / "1.txt").write_text("first\n\nsecond\n")
    (tmp_path / "2.jsonl").write_text('{"text": "third"}\n{"title": "fourth", "text": " "}\n')
    source = TextsSpec(files=f"{tmp_path}/*", fields=("text", "title")).build()
    sent = pickle.loads(pickle.dumps(source))

    assert ["first", "second", "third", "fourth"] == [sent.sample(index).text for index in range(len(sent))]
    assert [f"{tmp_path}/1.txt:3", f"{tmp_path}/2.jsonl:1"] == [source.sample(index).key for index in (1, 2)]
    assert "3" == Texts(files=f"{tmp_path}/1.txt").sample(1).key
    assert frozenset({"text"}) == TextsSpec(files="x").provides


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("t.txt", b"  \t", "empty-caption"),
        ("t.txt", b"caf\xe9 au lait", "bad-utf-8"),
        ("t.txt", b"two words", "few-words"),
        ("t.jsonl", b"plain text", "bad-json"),
        ("t.jsonl", b'{"text": ""}', "empty-caption"),
        ("t.jsonl", b'{"text": ["two", "lists"]}', "few-words"),
        ("t.jsonl", b'{"text": "\xff"}', "bad-utf-8"),
        ("T.JSONL", b"plain text", "bad-json"),
    ],
)
def test_a_wrong_line_is_a_bad_sample(tmp_path: Path, name: str, line: bytes, reason: str) -> None:
    """With its file and line; the next is good."""
    good = b'{"text": "three good words"}' if name.lower().endswith("jsonl") else b"three good words"
    (tmp_path / name).write_bytes(b"\n" + line + b"\n" + good)
    source = Texts(files=f"{tmp_path}/{name}", min_words=3)
    with pytest.raises(BadSampleError, match=rf"{name}:2: ") as caught:
        source.sample(0)

    assert (reason, f"{tmp_path}/{name}", "2") == (caught.value.reason, caught.value.source, caught.value.key)
    assert "three good words" == source.sample(1).text


def test_no_more_than_so_many_files_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None before a line is read; those that were closed are opened again."""
    monkeypatch.setattr("flava_parts.data.sources.opened.OPENED", 2)
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    source = Texts(files=f"{tmp_path}/*.txt")

    assert [] == opened_below(tmp_path)
    assert [f"text {index}" for index in (*range(5), 0, 3)] == [
        source.sample(index).text for index in (*range(5), 0, 3)
    ]
    assert 2 == len(opened_below(tmp_path))


def test_no_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("\n\n")
    with pytest.raises(InputError, match="holds no text; write one a line"):
        Texts(files=f"{tmp_path}/t.txt")
    with pytest.raises(InputError, match="matches no file"):
        Texts(files=f"{tmp_path}/*.md")
