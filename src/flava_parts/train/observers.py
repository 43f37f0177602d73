"""Who watches a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

Record = Mapping[str, float | int | str]
"""One flat line of metrics: ``{"step": 7, "stream": "paired", "loss": 9.1, "loss/mim": 2.2, "images": 256, ...}``.

``images`` is how many the step saw, ``seconds`` how long it took, ``data_share`` the share of that spent on the batch,
``mfu`` the share of the measured peak that its products of matrices reached, ``memory`` the most bytes so far,
``value/...`` a number of the model that changes over the run, ``skipped`` 1 where an update was left out.
"""


class Observer(Protocol):
    """Sees every step and evaluation of a run; changes nothing. One that may is a `Proposer`."""

    def begin(self, *, step: int, steps: int) -> None:
        """The run starts after ``step`` updates (0 if it is new) and goes on until ``steps``."""

    def stepped(self, record: Record) -> None:
        """One update was made."""

    def evaluated(self, record: Record) -> None:
        """One evaluation was made."""

    def end(self) -> None:
        """The run is over, finished or interrupted."""


def numbers_of(record: Record) -> dict[str, float]:
    """What of a record a curve can be drawn of: its finite numbers, without the step."""
    return {
        name: value
        for name, value in record.items()
        if name != "step" and not isinstance(value, str) and math.isfinite(value)
    }
