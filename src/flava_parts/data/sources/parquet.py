"""Rows of Parquet files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from ...errors import InputError
from .arrow_rows import UNREADABLE, lengths_of, record_of, row_at, rows_of, wanted_rows
from .byte_file import check_kind
from .caption_rule import CaptionRule, UnusableError
from .lengths import Lengths
from .opened import Opened
from .patterns import files_of
from .record import Record, Records

KEPT = 4
"""So many row groups stay in memory."""


class Parquet(Records):
    """Rows of Parquet files (the extra ``parquet``), read a row group at a time; the last four stay in memory.

    files: as `files_of` reads it. picture: the column of pictures: files' contents, blocks with ``bytes``, or names in
        the folder; null if there are none. captions, min_words, where: as in `CaptionRule`; rows that they do not want
        are left out. Raises InputError if a file or column is missing, or no row is left.
    """

    def __init__(
        self,
        *,
        files: str,
        picture: str | None = "image",
        folder: str | None = None,
        captions: Sequence[str] = ("caption",),
        min_words: int = 0,
        where: Mapping[str, str] = {},
    ) -> None:
        super().__init__(files)
        self._paths = files_of(files)
        self._picture = picture
        self._folder = folder
        self._rule = CaptionRule(tuple(captions), min_words, where)
        self._texts = [*captions, *where]
        self._columns = [*([picture] if picture is not None else []), *self._texts]
        self._files = Opened(partial(_opened, columns=self._columns), _close)
        self._tables: dict[int, Any] = {}
        self._lengths: dict[int, Lengths] = {}
        groups = [
            (number, group, rows)
            for number, path in enumerate(self._paths)
            for group, rows in enumerate(_group_sizes(self._files[path]))
        ]
        self._groups = np.array(groups, dtype=np.int64).reshape(-1, 3)
        self._ends = self._groups[:, 2].cumsum()
        self._kept = None
        if self._rule.filters:
            rows = chain.from_iterable(map(self._texts_of, range(len(self._groups))))
            self._kept = wanted_rows(rows, self._rule)
        if not len(self):
            raise InputError(f"{files}: holds no row" + (" that is wanted" if self._rule.filters else ""))

    def __len__(self) -> int:
        return len(self._kept) if self._kept is not None else int(self._groups[:, 2].sum())

    def record(self, index: int) -> Record:
        """Key, the file's name and the number of the row in all files, and what the row holds."""
        number, group, place = self._found(index)
        path, key = self._paths[int(self._groups[group, 0])], str(number)
        try:
            return record_of(key, self._row(group, place), self._picture, self._folder, self._rule)
        except UnusableError as error:
            raise self.bad(key, error.reason, str(error), source=path) from None

    def caption_lengths(self, index: int) -> Sequence[int]:
        """As `Records` has it; those of a whole row group are found at once, in its columns of texts, and kept."""
        _, group, place = self._found(index)
        if group not in self._lengths:
            self._lengths[group] = Lengths.of(lengths_of(row, self._rule) for row in self._texts_of(group))
        return self._lengths[group][place]

    def _found(self, index: int) -> tuple[int, int, int]:
        """The number of a sample's row in all files, its row group, and its place there."""
        number = index if self._kept is None else int(self._kept[index])
        group = int(np.searchsorted(self._ends, number, side="right"))
        return number, group, number - (int(self._ends[group - 1]) if group else 0)

    def _row(self, group: int, place: int) -> dict[str, Any]:
        table = self._tables.pop(group, None)
        if table is None:
            table = self._table(group, self._columns)
        self._tables[group] = table
        if len(self._tables) > KEPT:
            del self._tables[next(iter(self._tables))]
        return row_at(table, place)

    def _texts_of(self, group: int) -> Sequence[dict[str, Any] | None]:
        """The texts of all rows of a group; None for those that cannot be read, which may be the whole group."""
        try:
            return rows_of(self._table(group, self._texts))
        except UnusableError:
            return [None] * int(self._groups[group, 2])

    def _table(self, group: int, columns: Sequence[str]) -> Any:
        """Columns of a row group. Raises UnusableError if it is damaged."""
        file, number, count = self._groups[group].tolist()
        opened = self._files[self._paths[file]]
        try:
            table = opened.read_row_group(number, columns=columns)
        except UNREADABLE as error:
            raise UnusableError(f"its row group cannot be read ({_in_a_line(error)})", "damaged") from None
        if len(table) != count:
            raise UnusableError(f"its row group has {len(table)} rows instead of {count}", "damaged")
        return table

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_tables": {}, "_lengths": {}}


def _opened(path: str, columns: Sequence[str]) -> Any:
    """A Parquet file that has some columns. Raises InputError."""
    try:
        from pyarrow import parquet  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise InputError(f"{path}: needs pyarrow; pip install 'flava-parts[parquet]'") from None
    check_kind(path)
    try:
        file = parquet.ParquetFile(path, memory_map=True)
    except UNREADABLE as error:
        raise InputError(f"{path}: no Parquet file can be read ({_in_a_line(error)})") from None
    names = file.schema_arrow.names
    if missing := [name for name in columns if name not in names]:
        raise InputError(f"{path}: has no column {' and no '.join(map(repr, missing))}; it has {', '.join(names)}")
    return file


def _close(file: Any) -> None:
    file.close()


def _group_sizes(file: Any) -> list[int]:
    """How many rows each row group of a Parquet file has."""
    return [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]


def _in_a_line(error: Exception) -> str:
    """What an error says, without the ends of lines and damaged bytes that are in it."""
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", str(error)).strip()
