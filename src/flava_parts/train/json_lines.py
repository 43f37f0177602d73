"""The observer that writes `metrics.jsonl`, and how that file is read."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from .observers import Record

METRICS = "metrics.jsonl"
"""The file's name in a run's folder."""


class JsonLines:
    """Writes every step and evaluation into the run's folder as one flat JSON object a line.

    Lines are strict JSON in ASCII; what is not finite becomes null. Each line is handed to the system as it is made,
    so that a killed run loses at most the line it was writing.
    """

    def __init__(self, *, folder: Path) -> None:
        self.path = Path(folder) / METRICS
        self._begun = 0

    def begin(self, *, step: int, steps: int) -> None:
        """Keep what there is up to ``step``; what came later will be made again."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._begun = step
        if self.path.exists():
            self._keep(lambda record: record["step"] <= step)

    def stepped(self, record: Record) -> None:
        """Append a line."""
        self._append(record)

    def evaluated(self, record: Record) -> None:
        """Append a line, in place of that of an evaluation which is made again where the run went on."""
        if record["step"] == self._begun and self.path.exists():
            self._keep(lambda old: old["step"] < self._begun or "loss" in old)
        self._append(record)

    def end(self) -> None:
        """Nothing is left to do: every line is already written."""

    def _keep(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Replace the file as a whole by its wanted lines, so that a crash leaves the old one or the new one."""
        rewritten = self.path.with_name(f".{METRICS}.new")
        with rewritten.open("wb") as file:
            file.writelines(line for line, record in _lines(self.path) if wanted(record))
            file.flush()
            os.fsync(file.fileno())
        rewritten.replace(self.path)

    def _append(self, record: Record) -> None:
        finite = {name: None if _is_endless(value) else value for name, value in record.items()}
        line = json.dumps(finite, allow_nan=False) + "\n"
        with self.path.open("a", encoding="ascii", newline="\n") as file:
            file.write(line)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`, in the order of their lines; None stands for what was not finite.

    Lines that are no whole record (the last one of a killed run) are left out. Raises FileNotFoundError.
    """
    return [record for _, record in _lines(path)]


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Each whole line of a file, as it is and as a record with an integer ``step``."""
    with path.open("rb") as file:
        for line in file:
            try:
                record: object = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if line.endswith(b"\n") and isinstance(record, dict):
                record = cast("dict[str, Any]", record)
                if isinstance(record.get("step"), int):
                    yield line, record


def _is_endless(value: float | int | str) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
