"""Rows of Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import InputError
from .arrow_rows import lengths_of, record_of, wanted_rows
from .caption_rule import CaptionRule, UnusableError
from .lengths import Lengths
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
        self._open()
        groups = [
            (number, group, file.metadata.row_group(group).num_rows)
            for number, file in enumerate(self._files)
            for group in range(file.metadata.num_row_groups)
        ]
        self._groups = np.array(groups, dtype=np.int64).reshape(-1, 3)
        self._ends = self._groups[:, 2].cumsum()
        self._kept = None
        if self._rule.filters:
            self._kept = wanted_rows(
                (file.read_row_group(group, columns=self._texts) for file, group in self._all()), self._rule
            )
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
            file, number, _ = self._groups[group].tolist()
            rows = self._files[file].read_row_group(number, columns=self._texts).to_pylist()
            self._lengths[group] = Lengths.of(lengths_of(row, self._rule) for row in rows)
        return self._lengths[group][place]

    def _found(self, index: int) -> tuple[int, int, int]:
        """The number of a sample's row in all files, its row group, and its place there."""
        number = index if self._kept is None else int(self._kept[index])
        group = int(np.searchsorted(self._ends, number, side="right"))
        return number, group, number - (int(self._ends[group - 1]) if group else 0)

    def _row(self, group: int, place: int) -> dict[str, Any]:
        table = self._tables.pop(group, None)
        if table is None:
            file, number, _ = self._groups[group].tolist()
            try:
                table = self._files[file].read_row_group(number, columns=self._columns)
            except OSError as error:
                raise UnusableError(f"its row group cannot be read ({error})", "damaged") from None
        self._tables[group] = table
        if len(self._tables) > KEPT:
            del self._tables[next(iter(self._tables))]
        return table.slice(place, 1).to_pylist()[0]

    def _all(self) -> Any:
        return ((self._files[int(number)], int(group)) for number, group, _ in self._groups)

    def _open(self) -> None:
        try:
            from pyarrow import parquet  # pyright: ignore[reportMissingTypeStubs]
        except ImportError:
            raise InputError(f"{self.name}: needs pyarrow; pip install 'flava-parts[parquet]'") from None
        self._tables: dict[int, Any] = {}
        self._lengths: dict[int, Lengths] = {}
        self._files: list[Any] = []
        for path in self._paths:
            try:
                file = parquet.ParquetFile(path, memory_map=True)
            except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
                raise InputError(f"{path}: no Parquet file can be read ({error})") from None
            if missing := [name for name in self._columns if name not in file.schema_arrow.names]:
                raise InputError(
                    f"{path}: has no column {' and no '.join(map(repr, missing))}; "
                    f"it has {', '.join(file.schema_arrow.names)}"
                )
            self._files.append(file)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_files", "_tables", "_lengths")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()
