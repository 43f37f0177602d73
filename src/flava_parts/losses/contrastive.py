"""Telling each image's text from all others, and each text's image."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..facts import Stream, Streams
from ..layers.initialize import initialize
from .gather import gather, rank_and_size
from .value import LossValue


class GlobalContrastive(nn.Module):
    """InfoNCE over the pairs of all ranks, both ways (Radford et al. 2021, figure 3; FLAVA section 3.2)."""

    def __init__(
        self,
        *,
        image_width: int,
        text_width: int,
        weight: float = 1.0,
        projection: int = 768,
        logit_scale: float = 2.6592,
        min_logit_scale: float = 0.0,
        max_logit_scale: float = 4.6052,
        backprop: str = "global",
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.backprop = backprop
        self.scale_range = (min_logit_scale, max_logit_scale)
        self.image_projection = nn.Linear(image_width, projection)
        self.text_projection = nn.Linear(text_width, projection)
        self.logit_scale = nn.Parameter(torch.tensor(logit_scale))
        initialize(self, init_std)

    def embed_image(self, summary: Tensor) -> Tensor:
        """Summary tokens (B, D) to unit vectors (B, projection)."""
        return F.normalize(self.image_projection(summary), dim=-1)

    def embed_text(self, summary: Tensor) -> Tensor:
        """Summary tokens (B, D) to unit vectors (B, projection)."""
        return F.normalize(self.text_projection(summary), dim=-1)

    def scale(self) -> Tensor:
        """What cosines are multiplied by (); the stored logarithm itself is never written to.

        The gradient passes the clamp, as it does where the references clamp in place: a logarithm that an update
        carried out of the range finds its way back.
        """
        clamped = self.logit_scale.detach().clamp(*self.scale_range)
        return (self.logit_scale - self.logit_scale.detach() + clamped).exp()

    def forward(self, streams: Mapping[Stream, Tensor], *, dense: bool = False) -> LossValue:
        """Summaries of images and texts (b, D) to the loss; logits are (b, b x ranks) per image, and per text.

        Where `Streams.MATCHED` says which rows are true pairs, the loss is the mean over those; mismatched texts and
        images stay in the columns, as negatives.
        """
        per_image, per_text = self.logits(streams)
        rank, _ = rank_and_size()
        targets = rank * len(per_image) + torch.arange(len(per_image), device=per_image.device)
        rows = streams.get(Streams.MATCHED)
        if rows is None:
            rows = torch.ones_like(targets, dtype=torch.bool)
        count = rows.sum()
        losses = F.cross_entropy(per_image, targets, reduction="none") + F.cross_entropy(
            per_text, targets, reduction="none"
        )
        value = self.weight * (losses * rows).sum() / (2 * count.clamp(min=1))
        return LossValue(value=value, count=count, logits=(per_image, per_text), targets=targets)

    def logits(self, streams: Mapping[Stream, Tensor]) -> tuple[Tensor, Tensor]:
        """Summaries of images and texts (b, D) to scaled cosines per image and per text, each (b, b x ranks)."""
        image = self.embed_image(streams[Streams.IMAGE_SUMMARY])
        text = self.embed_text(streams[Streams.TEXT_SUMMARY])
        scale = self.scale()
        return scale * image @ gather(text, self.backprop).T, scale * text @ gather(image, self.backprop).T
