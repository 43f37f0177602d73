"""Which texts of a row are its captions."""

from __future__ import annotations

import json
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
        ``empty-caption`` if there are none, though there are columns for them, ``bad-utf-8`` as `check_characters`.
        """
        for column, wanted in self.where.items():
            if (found := _spelt(row.get(column))) != wanted:
                raise UnusableError(f"{column} is {found}, not {wanted}", "filtered")
        if not self.columns:
            return ()
        short = False
        for column in self.columns:
            found = [text for text in _texts(row.get(column)) if text.strip()]
            kept = [text for text in found if len(text.split()) >= self.min_words] if self.min_words else found
            if kept:
                check_characters(kept, column)
                return tuple(dict.fromkeys(kept))
            short = short or bool(found)
        if short:
            raise UnusableError(f"has no caption of at least {self.min_words} words", "few-words")
        raise UnusableError(f"{' and '.join(self.columns)}: empty", "empty-caption")


def check_characters(texts: Sequence[str], place: str) -> None:
    """Raise UnusableError, ``bad-utf-8``, for a text with half a character: JSON can say it, but it is no UTF-8."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UnusableError(f"{place}: half a character, {text[error.start]!r}", "bad-utf-8") from None


def _spelt(cell: Any) -> str:
    """A cell as a table's file spells it: JSON's true, false and null, whatever Python calls them."""
    return json.dumps(cell) if cell is None or isinstance(cell, bool) else str(cell)


def _texts(cell: Any) -> Sequence[str]:
    if isinstance(cell, str):
        return (cell,)
    cells = cast(Sequence[object], cell) if isinstance(cell, (list, tuple)) else ()
    return [cell for cell in cells if isinstance(cell, str)]
