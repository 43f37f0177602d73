"""What every evaluation can do, and who watches it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..inputs.processor import Processor
    from ..model import FlavaForPreTraining


class Watch(Protocol):
    """Is told after each batch how many of what are done, and of how many."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` pictures, texts, ... are done."""
        ...


def unwatched(what: str, done: int, total: int) -> None:
    """Nobody looks."""


class Result(Protocol):
    """What an evaluation found."""

    @property
    def record(self) -> Mapping[str, float]:
        """Named numbers, such as ``image_to_text/top1``; those called ``top...`` are shares from 0 to 1."""
        ...


class Evaluation(Protocol):
    """A model and its processor to named numbers. Draws no random numbers and leaves the model as it was."""

    def __call__(self, model: FlavaForPreTraining, processor: Processor, *, watch: Watch = unwatched) -> Result:
        """Measure."""
        ...
