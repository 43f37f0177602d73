"""Which texts of a row are its captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast


class UnusableError(Exception):
    """A row has no caption that may be used. reason: as in `BadSampleError`."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class CaptionRule:
    """Which texts of a row are its captions, and which rows are wanted at all.

    columns: where captions are looked for; the first that has any gives them (the paper takes a photograph's
        description, else its title); none if captions are not wanted. min_words: captions of fewer words, between
        spaces, do not count. where: the values that columns must have for the row to be wanted.
    """

    columns: tuple[str, ...]
    min_words: int = 0
    where: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def filters(self) -> bool:
        """Whether there are rows that this rule does not want, though nothing is wrong with them."""
        return self.min_words > 1 or bool(self.where)

    def captions(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """The captions of a row, whose cells are texts or lists of texts.

        Raises UnusableError: ``filtered`` if the row is not wanted, ``few-words`` if its captions are too short,
        ``empty-caption`` if there are none, though there are columns for them.
        """
        for column, wanted in self.where.items():
            if str(row.get(column)) != wanted:
                raise UnusableError(f"{column} is {row.get(column)!r}, not {wanted!r}", "filtered")
        if not self.columns:
            return ()
        short = False
        for column in self.columns:
            found = [text for text in _texts(row.get(column)) if text.strip()]
            kept = [text for text in found if len(text.split()) >= self.min_words] if self.min_words else found
            if kept:
                return tuple(dict.fromkeys(kept))
            short = short or bool(found)
        if short:
            raise UnusableError(f"has no caption of at least {self.min_words} words", "few-words")
        raise UnusableError(f"{' and '.join(self.columns)}: empty", "empty-caption")


def _texts(cell: Any) -> Sequence[str]:
    if isinstance(cell, str):
        return (cell,)
    cells = cast(Sequence[object], cell) if isinstance(cell, (list, tuple)) else ()
    return [cell for cell in cells if isinstance(cell, str)]
