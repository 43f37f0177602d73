"""The loss of the plugin from outside."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from flava_parts.losses.value import LossValue


class Sharpness(nn.Module):
    """The mean square of a stream (B, D)."""

    def __init__(self, *, width: int, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight
        self.scale = nn.Linear(width, 1)

    def forward(self, streams: Mapping[str, Tensor], *, dense: bool = False) -> LossValue:
        found = self.logits(streams)
        return LossValue(value=self.weight * found.square().mean(), count=found.new_ones(len(found)).sum().long())

    def logits(self, streams: Mapping[str, Tensor]) -> Tensor:
        """One number a row (B,)."""
        return self.scale(streams["edges.sharpness"]).squeeze(-1)
