"""How the learning rate changes over a run."""

from __future__ import annotations

import math
from typing import Protocol


class Schedule(Protocol):
    """A step, counted from 0, to the factor of the highest learning rate."""

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
