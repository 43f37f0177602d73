"""Pictures with captions, listed in a file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError, Mark

PICTURE, CAPTION = "picture", "caption"
"""What the columns, or the fields, are called."""

SHOWN = 5
"""So many problems of a file are named; the others are counted."""


class Captioned(NamedTuple):
    """A picture and what it is called."""

    picture: Path
    captions: tuple[str, ...]


class _Row(NamedTuple):
    """What one line says, or what is wrong with it."""

    line: int
    picture: str = ""
    captions: tuple[str, ...] = ()
    fault: str | None = None


def read_captions(path: Path) -> list[Captioned]:
    """The pictures of a .csv, .tsv or .jsonl file, in the order in which they first appear, each with all its captions.

    CSV and TSV begin with a line that names the columns ``picture`` and ``caption``, others are not looked at; in JSON
    lines each object has these two fields, ``caption`` a string or a list of them. A picture is a path relative to the
    file's folder, and may be in several lines. UTF-8. Raises `InputError` with ``file:line`` for what is wrong.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: captions are read from {', '.join(_READERS)}; rename the file by what it is")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{Mark(str(path), line)}: is not UTF-8; save it as that") from None
    found: dict[Path, dict[str, None]] = {}
    faults: list[str] = []
    for row in reader(text):
        picture = path.parent / row.picture
        fault = row.fault
        if fault is None and picture not in found and not _is_file(picture):
            fault = f"there is no picture {row.picture!r}; paths are relative to the file's folder"
        if fault is not None:
            faults.append(f"{Mark(str(path), row.line)}: {fault}")
        else:
            found.setdefault(picture, {}).update(dict.fromkeys(row.captions))
    if faults:
        more = [f"{path}: and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise InputError("\n".join(faults[:SHOWN] + more))
    if not found:
        raise InputError(f"{path}: holds no picture with a caption")
    return [Captioned(picture, tuple(captions)) for picture, captions in found.items()]


def _separated(delimiter: str) -> Callable[[str], Iterator[_Row]]:
    def rows(text: str) -> Iterator[_Row]:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        columns: tuple[int, int] | None = None
        line = 1
        try:
            for cells in lines:
                if columns is None:
                    if missing := [name for name in (PICTURE, CAPTION) if name not in cells]:
                        yield _Row(
                            line,
                            fault=f"the first line should name the columns {PICTURE} and {CAPTION}; "
                            f"there is no {' and no '.join(missing)}",
                        )
                        return
                    columns = cells.index(PICTURE), cells.index(CAPTION)
                elif cells and len(cells) <= max(columns):
                    yield _Row(line, fault=f"has {len(cells)} of at least {max(columns) + 1} columns")
                elif cells:
                    yield _checked(line, cells[columns[0]], [cells[columns[1]]])
                line = lines.line_num + 1
        except csv.Error as error:
            yield _Row(line, fault=f"cannot be read: {error}")

    return rows


def _json_lines(text: str) -> Iterator[_Row]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            value: Any = json.loads(content)
        except (ValueError, RecursionError) as error:
            yield _Row(line, fault=f"is no JSON: {error}")
            continue
        captions: Any = value.get(CAPTION) if isinstance(value, dict) else None
        captions = [captions] if isinstance(captions, str) else captions
        is_right = (
            isinstance(value, dict)
            and isinstance(value.get(PICTURE), str)
            and isinstance(captions, list)
            and all(isinstance(caption, str) for caption in captions)
        )
        if is_right:
            yield _checked(line, value[PICTURE], captions)
        else:
            yield _Row(line, fault=f'should be {{"{PICTURE}": "a.jpg", "{CAPTION}": "…"}}, or a list of captions')


def _checked(line: int, picture: str, captions: list[str]) -> _Row:
    if not picture.strip():
        return _Row(line, fault=f"{PICTURE} is empty")
    if not captions or not all(caption.strip() for caption in captions):
        return _Row(line, fault=f"{CAPTION} is empty")
    return _Row(line, picture, tuple(captions))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


_READERS: dict[str, Callable[[str], Iterator[_Row]]] = {
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".jsonl": _json_lines,
}
