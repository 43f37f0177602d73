"""How the learning rate, or another number, changes over a run."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Protocol


class Schedule(Protocol):
    """A step, counted from 0, to the factor of the number: of the highest learning rate, or of what the spec says."""

    def __call__(self, step: int) -> float: ...


class WarmupCosine:
    """Linear warm-up over ``warmup`` steps, then half a cosine down to ``final`` at the last of ``steps``."""

    def __init__(self, *, steps: int, warmup: int = 10000, final: float = 0.0) -> None:
        self.steps = steps
        self.warmup = warmup
        self.final = final

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


class WarmupLinear:
    """Linear warm-up over ``warmup`` steps, then a straight line down to ``final`` at the last of ``steps``."""

    def __init__(self, *, steps: int, warmup: int = 10000, final: float = 0.0) -> None:
        self.steps = steps
        self.warmup = warmup
        self.final = final

    def __call__(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / self.warmup
        return _between(1.0, self.final, min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup)))


class Constant:
    """Linear warm-up over ``warmup`` steps, then 1."""

    def __init__(self, *, steps: int, warmup: int = 0) -> None:
        self.steps = steps
        self.warmup = warmup

    def __call__(self, step: int) -> float:
        return min(1.0, (step + 1) / max(1, self.warmup))


class WarmupStableDecay:
    """Linear warm-up over ``warmup`` steps, 1 until the last ``decay`` of ``steps``, then down to ``final``.

    The way down is ``1 - sqrt(progress)`` (Hägele et al. 2024, equation 1). Everything before it is the same whatever
    ``steps`` is, so that a run can be made longer.
    """

    def __init__(self, *, steps: int, warmup: int = 2000, decay: int = 10000, final: float = 0.0) -> None:
        self.steps = steps
        self.warmup = warmup
        self.decay = decay
        self.final = final

    def __call__(self, step: int) -> float:
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        progress = min(1.0, max(0.0, (step - (self.steps - self.decay)) / max(1, self.decay)))
        return rise * _between(1.0, self.final, math.sqrt(progress))


class Piecewise:
    """Factors at given steps, which rise: each holds until the next, or straight lines join them (``smooth``).

    Before the first step stands the first factor, after the last one the last.
    """

    def __init__(self, *, steps: int, points: Sequence[tuple[int, float]], smooth: bool = False) -> None:
        self.steps = steps
        self.points = points
        self.smooth = smooth

    def __call__(self, step: int) -> float:
        passed = bisect_right([at for at, _ in self.points], step)
        at, factor = self.points[max(0, passed - 1)]
        if passed in (0, len(self.points)) or not self.smooth:
            return factor
        then, goal = self.points[passed]
        return _between(factor, goal, (step - at) / (then - at))


def _between(start: float, stop: float, share: float) -> float:
    return start + (stop - start) * share
