"""Tables in text files, each row read where it lies: CSV, TSV and JSON lines."""

from __future__ import annotations

import csv
import json
from array import array
from collections.abc import Generator, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from ...errors import InputError, Mark
from .byte_file import ByteFile
from .caption_rule import UnusableError
from .lines import Lines, start_of_text

DELIMITERS = {".csv": ",", ".tsv": "\t"}
ENDINGS = (*DELIMITERS, ".jsonl")
BLOCK = 1000
"""Rows that are read at once where all of them are."""
LONGEST = 2**24
"""Bytes of a cell of a .csv or .tsv file; more are rather a quotation mark that is never closed."""

csv.field_size_limit(max(LONGEST, csv.field_size_limit()))  # of the whole process; Python's own is 128 KiB


class TableFile:
    """The rows of a .csv, .tsv or .jsonl file, by number: 8 bytes of memory a row, and 4 for the number of its line.

    columns: their names, if the file's first line is not a row of them; JSON lines have names in each. quoting:
    whether quotation marks enclose cells of .csv and .tsv files, or are characters like others. Raises InputError, with
    the line, for a file whose rows cannot be told apart; a row that is wrong in itself says so when it is read.
    """

    def __init__(self, path: str, columns: Sequence[str] = (), *, quoting: bool = True) -> None:
        ending = Path(path).suffix.lower()
        if ending not in ENDINGS:
            raise InputError(f"{path}: tables are read from {', '.join(ENDINGS)}; rename the file by what it is")
        self.path = path
        self._delimiter = DELIMITERS.get(ending)
        self._columns = list(columns)
        self._quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE
        if self._delimiter is None:
            lines = Lines(path)
            self._file, self._starts, self.lines = lines.file, lines.starts, lines.numbers
        else:
            self._file = ByteFile(path)
            starts, numbers = array("q"), array("L")
            for start, line, cells in self._scanned(self._delimiter):
                if not self._columns:
                    self._columns = [_decoded(cell) for cell in cells]
                else:
                    starts.append(start)
                    numbers.append(line)
            starts.append(self._file.size)
            self._starts, self.lines = np.array(starts, dtype=np.int64), np.array(numbers, dtype=np.uint32)

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a .csv or .tsv file; none of JSON lines, whose rows may differ."""
        return tuple(self._columns) if self._delimiter is not None else ()

    def row(self, index: int) -> dict[str, Any]:
        """The cells of a row by column. Raises UnusableError: ``bad-utf-8``, ``bad-json``, ``bad-row``."""
        return self._cells(self._file.read(int(self._starts[index]), int(self._starts[index + 1])))

    def _cells(self, content: bytes) -> dict[str, Any]:
        if self._delimiter is None:
            return json_row(content)
        cells = next(csv.reader([utf_8(content)], delimiter=self._delimiter, quoting=self._quoting, strict=True))
        if len(cells) != len(self._columns):
            raise UnusableError(f"has {len(cells)} cells for {len(self._columns)} columns", "bad-row")
        return dict(zip(self._columns, cells, strict=True))

    def rows(self) -> Iterator[dict[str, Any] | None]:
        """All rows in order; None for one that cannot be read."""
        for first in range(0, len(self), BLOCK):
            starts = self._starts[first : first + BLOCK + 1].tolist()
            block = self._file.read(starts[0], starts[-1])
            for start, stop in pairwise(starts):
                try:
                    yield self._cells(block[start - starts[0] : stop - starts[0]])
                except UnusableError:
                    yield None

    def _scanned(self, delimiter: str) -> Generator[tuple[int, int, list[str]]]:
        """Where each row begins, its line, and its cells.

        The bytes are read as Latin-1, in which quotes, delimiters and line ends are what they are in UTF-8.
        """
        at = start_of_text(self._file)
        place = _Place(at)
        with self._file.stream() as stream:
            stream.seek(at)
            reader = csv.reader(place.follow(stream), delimiter=delimiter, quoting=self._quoting, strict=True)
            start, line = at, 1
            try:
                for cells in reader:
                    if cells:
                        yield start, line, cells
                    start, line = place.end, reader.line_num + 1
            except csv.Error as error:
                raise InputError(f"{Mark(self.path, line)}: no row can be read ({self._explained(error)}") from None

    def _explained(self, error: csv.Error) -> str:
        wrong = f"it has a cell of over {LONGEST:,} bytes" if "field limit" in str(error) else str(error)
        if self._quoting == csv.QUOTE_NONE:
            return f"{wrong})"
        return f"{wrong}); look for a quotation mark too many, or set `quoting: false` if none encloses a cell"


class _Place:
    """How far a stream has been read, line by line."""

    def __init__(self, end: int) -> None:
        self.end = end

    def follow(self, stream: Any) -> Iterator[str]:
        for line in stream:
            self.end += len(line)
            yield line.decode("latin-1")


def json_row(content: bytes) -> dict[str, Any]:
    """The object on a line. Raises UnusableError if it is none."""
    try:
        row: Any = json.loads(utf_8(content))
    except (ValueError, RecursionError):
        raise UnusableError("is no JSON", "bad-json") from None
    if not isinstance(row, dict):
        raise UnusableError("is no JSON object", "bad-json")
    return cast(dict[str, Any], row)


def utf_8(content: bytes) -> str:
    """The text of some bytes. Raises UnusableError."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise UnusableError("is not UTF-8", "bad-utf-8") from None


def _decoded(cell: str) -> str:
    return cell.encode("latin-1").decode("utf-8", "replace")
