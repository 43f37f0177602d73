"""The observer that writes `metrics.csv`, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from .observers import Record

TABLE = "metrics.csv"
"""The file's name in a run's folder."""

HEADER = ("step", "of", "name", "value")


class CsvLines:
    """Writes every number of every step and evaluation as a row ``step,of,name,value``; ``of`` is one of the two.

    One row a number, because each stream has losses of its own and evaluations have others.
    """

    def __init__(self, *, folder: Path) -> None:
        self.path = Path(folder) / TABLE
        self._begun = 0

    def begin(self, *, step: int, steps: int) -> None:
        """Keep what there is up to ``step``; what came later will be made again."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._begun = step
        self._write([row for row in self._rows() if int(row[0]) <= step])

    def stepped(self, record: Record) -> None:
        """Append its rows."""
        self._append("step", record)

    def evaluated(self, record: Record) -> None:
        """Append its rows, in place of those of an evaluation which is made again where the run went on."""
        if record["step"] == self._begun:
            self._write([row for row in self._rows() if int(row[0]) < self._begun or row[1] == "step"])
        self._append("evaluation", record)

    def end(self) -> None:
        """Nothing is left to do: every row is already written."""

    def _write(self, rows: Iterable[list[str]]) -> None:
        """Replace the file as a whole, so that a crash leaves the old one or the new one."""
        rewritten = self.path.with_name(f".{TABLE}.new")
        with rewritten.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([HEADER, *rows])
            file.flush()
            os.fsync(file.fileno())
        rewritten.replace(self.path)

    def _append(self, of: str, record: Record) -> None:
        rows = ([record["step"], of, name, value] for name, value in record.items() if name != "step")
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)

    def _rows(self) -> Iterator[list[str]]:
        """The whole rows, if there are any; the last one of a killed run may be half a row."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8", newline="") as file:
            lines = (line for line in file if line.endswith("\n"))
            yield from (row for row in csv.reader(lines) if len(row) == len(HEADER) and row[0].isdigit())
