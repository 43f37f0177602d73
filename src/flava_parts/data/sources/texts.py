"""Texts in files, one a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import InputError
from .caption_rule import CaptionRule, UnusableError
from .lines import Lines
from .opened import Opened
from .patterns import files_of
from .record import Record, Records
from .table_file import json_row, utf_8


class Texts(Records):
    """The lines of text files, or a field of the objects of .jsonl files; read from disk when asked for.

    files: as `files_of` reads it. fields: of .jsonl files, the first that has text. min_words: texts of fewer words
    are bad samples. Blank lines are no samples. Raises InputError if there is no such file, or no line.
    """

    def __init__(self, *, files: str, fields: Sequence[str] = ("text",), min_words: int = 0) -> None:
        super().__init__(files)
        self._files = [_lines(path) for path in files_of(files)]
        self._opened = Opened(self._files.__getitem__, _close)
        self._ends = np.cumsum([len(lines) for lines in self._files])
        self._rule = CaptionRule(tuple(fields), min_words)
        self._line = CaptionRule(("line",), min_words)
        if not len(self):
            raise InputError(f"{files}: holds no text; write one a line")

    def __len__(self) -> int:
        return int(self._ends[-1])

    def record(self, index: int) -> Record:
        """Key, the number of the line in its file, behind the file's name if there are several, and the text."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        lines = self._opened[number]
        place = index - (int(self._ends[number - 1]) if number else 0)
        path, line = lines.file.path, str(lines.numbers[place])
        key = f"{path}:{line}" if len(self._files) > 1 else line
        try:
            row: dict[str, Any]
            if path.lower().endswith(".jsonl"):
                row, rule = json_row(lines[place]), self._rule
            else:
                row, rule = {"line": utf_8(lines[place])}, self._line
            return Record(key, captions=rule.captions(row))
        except UnusableError as error:
            raise self.bad(key, error.reason, str(error), source=path, place=f"{path}:{line}") from None


def _lines(path: str) -> Lines:
    """The lines of a file, which is opened again when one is read: there may be more files than can be open."""
    lines = Lines(path)
    _close(lines)
    return lines


def _close(lines: Lines) -> None:
    lines.file.close()
