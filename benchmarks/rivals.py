"""Two ways to do the same work, timed in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A line of the table: the work, how long each took, and what was promised."""

    id: str
    work: str
    ours: tuple[float, ...]
    """Seconds of each round."""
    theirs: tuple[float, ...]
    target: float
    """How many times as fast as the peer we promise to be."""
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times as fast we are, by medians."""
        return statistics.median(self.theirs) / statistics.median(self.ours)

    @property
    def record(self) -> dict[str, Any]:
        """The line for JSON."""
        return {
            "id": self.id,
            "work": self.work,
            "ours": _summary(self.ours),
            "theirs": _summary(self.theirs),
            "ratio": self.ratio,
            "target": self.target,
            "met": self.ratio >= self.target,
            "note": self.note,
        }


def _summary(seconds: tuple[float, ...]) -> dict[str, float | int]:
    return {
        "median": statistics.median(seconds),
        "least": min(seconds),
        "most": max(seconds),
        "rounds": len(seconds),
    }


def in_turn(
    ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int, warm_up: int = 1
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Seconds of each round, theirs and ours one after the other, so that what slows the machine slows both."""
    for _ in range(warm_up):
        theirs()
        ours()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for work, taken in zip((ours, theirs), times, strict=True):
            start = time.perf_counter()
            work()
            taken.append(time.perf_counter() - start)
    return tuple(times[0]), tuple(times[1])
