"""A data set of Hugging Face's datasets, from disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from ...errors import InputError
from .arrow_rows import lengths_of, record_of, row_at, rows_of, wanted_rows
from .caption_rule import CaptionRule, UnusableError
from .record import Record, Records

BATCH = 1000


class HFDataset(Records):
    """The rows of a data set that ``datasets`` has saved to disk (the extra ``datasets``).

    folder: what ``save_to_disk`` wrote; of one with splits, ``folder/train``. Nothing is downloaded and no script is
        run. picture: the column of pictures; null if there are none. captions, min_words, where: as in `CaptionRule`;
        rows that they do not want are left out. Raises InputError if a column is missing, or no row is left.
    """

    def __init__(
        self,
        *,
        folder: str,
        picture: str | None = "image",
        captions: Sequence[str] = ("caption",),
        min_words: int = 0,
        where: Mapping[str, str] = {},
    ) -> None:
        super().__init__(folder)
        self._picture = picture
        self._rule = CaptionRule(tuple(captions), min_words, where)
        self._columns = [*([picture] if picture is not None else []), *captions, *where]
        self._open()
        self._kept = None
        if self._rule.filters:
            self._kept = wanted_rows(chain.from_iterable(map(rows_of, self._texts.iter(BATCH))), self._rule)
        if not len(self):
            raise InputError(f"{folder}: holds no row" + (" that is wanted" if self._rule.filters else ""))

    def __len__(self) -> int:
        return len(self._kept) if self._kept is not None else len(self._rows)

    def record(self, index: int) -> Record:
        """Key, the number of the row, and what it holds."""
        number = self._number(index)
        try:
            row = row_at(self._rows[number : number + 1], 0)
            return record_of(str(number), row, self._picture, None, self._rule)
        except UnusableError as error:
            raise self.bad(str(number), error.reason, str(error)) from None

    def caption_lengths(self, index: int) -> Sequence[int]:
        """As `Records` has it, of the columns of texts alone."""
        number = self._number(index)
        return lengths_of(rows_of(self._texts[number : number + 1])[0], self._rule)

    def _number(self, index: int) -> int:
        """The row of a sample."""
        return index if self._kept is None else int(self._kept[index])

    def _open(self) -> None:
        """The rows, and their texts, as Arrow tables: pictures stay the files that they were."""
        try:
            import datasets  # pyright: ignore[reportMissingTypeStubs]
        except ImportError:
            raise InputError(f"{self.name}: needs datasets; pip install 'flava-parts[datasets]'") from None
        try:
            rows = datasets.load_from_disk(self.name)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{self.name}: no data set can be read ({error})") from None
        if isinstance(rows, datasets.DatasetDict):
            raise InputError(
                f"{self.name}: has splits; give one of them: {', '.join(f'{self.name}/{name}' for name in rows)}"
            )
        if missing := [name for name in self._columns if name not in rows.column_names]:
            raise InputError(
                f"{self.name}: has no column {' and no '.join(map(repr, missing))}; "
                f"it has {', '.join(rows.column_names)}"
            )
        self._rows: Any = rows.select_columns(self._columns).with_format("arrow")
        self._texts: Any = rows.select_columns([*self._rule.columns, *self._rule.where]).with_format("arrow")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_rows", "_texts")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()
