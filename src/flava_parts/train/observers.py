"""Who watches a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

Record = Mapping[str, float | int | str]
"""One flat line of metrics: ``{"step": 7, "stream": "paired", "loss": 9.1, "loss/mim": 2.2, "images": 256, ...}``.

``images`` is how many the step saw, ``seconds`` how long it took, ``data_share`` the share of that spent on the batch.
"""


class Observer(Protocol):
    """Sees every step and evaluation of a run; changes nothing."""

    def begin(self, *, step: int, steps: int) -> None:
        """The run starts after ``step`` updates (0 if it is new) and goes on until ``steps``."""

    def stepped(self, record: Record) -> None:
        """One update was made."""

    def evaluated(self, record: Record) -> None:
        """One evaluation was made."""

    def end(self) -> None:
        """The run is over, finished or interrupted."""
