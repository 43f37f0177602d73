"""Whether an image and a text belong together."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from ..facts import Stream, Streams
from ..layers.initialize import initialize
from .value import LossValue


class ImageTextMatching(nn.Module):
    """Cross-entropy of two classes, 0 mismatch and 1 match, from the summary of the pair (FLAVA section 3.2)."""

    def __init__(self, *, width: int, weight: float = 1.0, init_std: float = 0.02, all_negative: str = "none") -> None:
        super().__init__()
        self.weight = weight
        self.all_negative = all_negative
        self.dense = nn.Linear(width, width)
        self.classifier = nn.Linear(width, 2)
        initialize(self, init_std)

    def forward(self, streams: Mapping[Stream, Tensor], *, dense: bool = False) -> LossValue:
        """The pair's summary (B, D) and labels (B,) to the loss; logits are (B, 2) in any case."""
        logits, labels = self.logits(streams), streams[Streams.MATCH_LABELS]
        value = self.weight * F.cross_entropy(logits, labels)
        return LossValue(value=value, count=labels.new_tensor(labels.numel()), logits=logits, targets=labels)

    def logits(self, streams: Mapping[Stream, Tensor]) -> Tensor:
        """The pair's summary (B, D) to logits (B, 2)."""
        return self.classifier(self.dense(streams[Streams.FUSED_SUMMARY]).tanh())

    def matched(self, labels: Tensor) -> Tensor:
        """The rows (B,) bool that the contrastive and MMM losses count as true pairs."""
        positive = labels.bool()
        return positive | ~positive.any() if self.all_negative == "as_positive" else positive
