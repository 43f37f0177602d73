"""What observers may change in a run, and how: by proposing factors of the losses' weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import nn

from ..errors import InputError
from .course import Course
from .ranks import OneProcess, Ranks, first_does


@runtime_checkable
class Proposer(Protocol):
    """An observer that proposes changes. This is the one door through which an observer takes part in a run.

    The loop asks after each step, applies what it is told from the next step on, writes the weights into the record of
    each step, and keeps the proposals in checkpoints. What the observer remembers itself is not kept: one whose run
    is to go on bit for bit decides by the last record alone.
    """

    def propose(self) -> Mapping[str, float]:
        """Factors of losses' weights by the losses' names, ``{"itm": 0.5}``; each holds until another is proposed."""
        ...


class Weights:
    """The weights of a model's losses at each step: the spec's, times schedules' factors, times proposed ones."""

    def __init__(self, model: nn.Module, course: Course) -> None:
        self._model: Any = model
        self._course = course
        self.proposed: dict[str, float] = {}
        """The factors that observers proposed and that still hold, by loss."""

    def apply(self, step: int) -> dict[str, float]:
        """Give each loss its weight at a step, counted from 0. All numbers that ever change, by path."""
        for name, factor in self.proposed.items():
            self._put(name, self._course.value(_weight(name), step, times=factor))
        for number in self._course.numbers:
            name = _loss(number)
            if name is not None and name not in self.proposed:
                self._put(name, self._course.value(number, step))
        values = {number: self._course.value(number, step) for number in self._course.numbers}
        return values | {_weight(name): float(self._model.losses[name].weight) for name in self.proposed}

    def listen(self, observers: Iterable[object], ranks: Ranks | None = None) -> None:
        """Take what observers propose, for the steps to come. Raises InputError for what is no loss, or no factor.

        Of several processes the first is watched; the others take what it took, and raise FirstFailedError.
        """
        ranks = ranks or OneProcess()
        first_does(ranks, lambda: self._take(observers))
        losses = self._course.model.losses
        taken = ranks.numbers_of_first([self.proposed.get(name, math.nan) for name in losses])
        self.proposed |= {name: factor for name, factor in zip(losses, taken, strict=True) if not math.isnan(factor)}

    def _take(self, observers: Iterable[object]) -> None:
        for observer in observers:
            for name, factor in observer.propose().items() if isinstance(observer, Proposer) else ():
                place = f"{type(observer).__name__} proposes {name}: {factor}"
                if name not in self._course.model.losses:
                    raise InputError(f"{place}; the model's losses are {', '.join(self._course.model.losses)}")
                if not 0 <= factor < math.inf:
                    raise InputError(f"{place}; a factor is finite and not negative")
                self.proposed[name] = float(factor)

    def _put(self, name: str, weight: float) -> None:
        self._model.losses[name].weight = weight


def _weight(name: str) -> str:
    return f"losses.{name}.weight"


def _loss(number: str) -> str | None:
    """The loss whose weight a path means, or None."""
    first, _, rest = number.partition(".")
    return rest.partition(".")[0] if first == "losses" else None
