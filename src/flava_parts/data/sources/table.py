"""A table of captions beside a folder of pictures."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .caption_rule import CaptionRule, UnusableError
from .folder import picture_in
from .record import Record, Records
from .specs import COLUMN
from .table_file import TableFile

DIGEST = 16


class Table(Records):
    """Pictures in a folder with the captions that a .csv, .tsv or .jsonl file has for them; read when asked for.

    file: a row a caption, or in JSON lines a row a picture with a list of them; rows of one picture are one sample.
    folder: where the pictures lie. picture: the column with a picture's name in the folder, or a pattern of columns,
        such as ``{subreddit}/{image_id}.jpg``; ``{image_id:012}`` fills up with zeros to 12 digits.
    captions, min_words, where: as in `CaptionRule`; rows that they do not want are left out, the rest is sampled.
    columns: the names of the columns, if the file's first line does not have them. quoting: as in `TableFile`.
    Raises InputError if a file or a column is missing, or no row is left.
    """

    def __init__(
        self,
        *,
        file: str,
        folder: str,
        picture: str = "picture",
        captions: Sequence[str] = ("caption",),
        min_words: int = 0,
        where: Mapping[str, str] = {},
        columns: Sequence[str] = (),
        quoting: bool = True,
    ) -> None:
        super().__init__(file)
        self._folder = folder
        self._picture = picture if COLUMN.search(picture) else f"{{{picture}}}"
        self._rule = CaptionRule(tuple(captions), min_words, where)
        self._table = TableFile(file, columns, quoting=quoting)
        used = [*(found[1] for found in COLUMN.finditer(self._picture)), *captions, *where]
        if self._table.columns and (missing := [name for name in used if name not in self._table.columns]):
            raise InputError(
                f"{file}: has no column {' and no '.join(map(repr, missing))}; it has {', '.join(self._table.columns)}"
            )
        self._rows, self._firsts = _grouped(self._wanted())
        if not len(self):
            raise InputError(f"{file}: holds no row" + (" that is wanted" if len(self._table) else ""))

    def __len__(self) -> int:
        return len(self._firsts) - 1

    def record(self, index: int) -> Record:
        """Key, the picture's name, its file, and all captions that its rows have."""
        line = int(self._table.lines[self._numbers(index)[0]])
        key = f"line {line}"
        try:
            rows = self._rows_of(index)
            key = self._name(rows[0])
            picture = picture_in(self._folder, key)
            captions = tuple(self._captions(rows)) if self._rule.columns else None
            return Record(key, picture, captions)
        except UnusableError as error:
            raise self.bad(key, error.reason, str(error), place=f"{self.name}:{line}") from None

    def caption_lengths(self, index: int) -> Sequence[int]:
        """As `Records` has it, of the table's rows alone."""
        try:
            return list(map(len, self._captions(self._rows_of(index)))) if self._rule.columns else ()
        except UnusableError:
            return ()

    def _numbers(self, index: int) -> list[int]:
        """Which rows of the table are about a picture."""
        return self._rows[self._firsts[index] : self._firsts[index + 1]].tolist()

    def _rows_of(self, index: int) -> list[dict[str, Any]]:
        return [self._table.row(number) for number in self._numbers(index)]

    def _captions(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """The captions of all rows of a picture, if any has some."""
        found: dict[str, None] = {}
        reason: UnusableError | None = None
        for row in rows:
            try:
                found |= dict.fromkeys(self._rule.captions(row))
            except UnusableError as error:
                reason = error
        if not found and reason is not None:
            raise reason
        return tuple(found)

    def _name(self, row: Mapping[str, Any]) -> str:
        """The name of the row's picture. Raises UnusableError if the row has none."""

        def cell(found: re.Match[str]) -> str:
            value = row.get(found[1])
            if not isinstance(value, (str, int)) or not str(value).strip():
                raise UnusableError(f"has no {found[1]}", "missing-picture")
            return str(value).strip().zfill(int(found[2] or 0))

        return COLUMN.sub(cell, self._picture)

    def _wanted(self) -> Iterator[tuple[int, bytes]]:
        """The rows that are wanted, by number, each with a digest of its picture's name; bad rows stay themselves."""
        for number, row in enumerate(self._table.rows()):
            name = f"\0{number}"
            if row is not None:
                try:
                    name = self._name(row)
                    if self._rule.filters:
                        self._rule.captions(row)
                except UnusableError as error:
                    if error.reason in ("filtered", "few-words"):
                        continue
            yield number, blake2b(name.encode("utf-8", "surrogatepass"), digest_size=DIGEST).digest()


def _grouped(rows: Iterator[tuple[int, bytes]]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Rows sorted so that those of one picture are neighbours, and (N + 1,) where each of N pictures begins.

    Pictures are in the order in which they come first.
    """
    numbers = array("L")
    digests = bytearray()
    for number, digest in rows:
        numbers.append(number)
        digests += digest
    if not numbers:
        return np.empty(0, dtype=np.uint32), np.zeros(1, dtype=np.int64)
    kept = np.array(numbers, dtype=np.uint32)
    _, first, picture = np.unique(
        np.frombuffer(bytes(digests), dtype=f"V{DIGEST}"), return_index=True, return_inverse=True
    )
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    order = np.argsort(rank[picture.reshape(-1)], kind="stable")
    counts = np.bincount(rank[picture.reshape(-1)], minlength=len(first))
    return kept[order], np.concatenate([[0], counts.cumsum()]).astype(np.int64)
