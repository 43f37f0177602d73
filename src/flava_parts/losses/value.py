"""What a loss returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class LossValue:
    """``value`` () carries the loss's weight and always a graph; ``count`` () int64 is how many rows it is a mean of.

    ``logits`` and ``targets`` are those rows, or every position where the caller asked for that.
    """

    value: Tensor
    count: Tensor
    logits: Tensor | tuple[Tensor, Tensor] | None = None
    targets: Tensor | None = None
