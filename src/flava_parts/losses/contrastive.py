"""Telling each image's text from all others, and each text's image."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

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
        chunk_size: int | None = None,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.backprop = backprop
        self.chunk_size = chunk_size
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
        images stay in the columns, as negatives. With a ``chunk_size`` there are no logits unless ``dense`` asks.
        """
        sides = self._sides(streams)
        (image, _), _ = sides
        rank, _ = rank_and_size()
        targets = rank * len(image) + torch.arange(len(image), device=image.device)
        rows = streams.get(Streams.MATCHED)
        if rows is None:
            rows = torch.ones_like(targets, dtype=torch.bool)
        logits = None
        if self.chunk_size is None or dense:
            logits = self._logits(*sides)
            losses = sum(F.cross_entropy(side, targets, reduction="none") for side in logits)
        else:
            losses = sum(self._in_chunks(own, others, targets, self.chunk_size) for own, others in sides)
        count = rows.sum()
        value = self.weight * (losses * rows).sum() / (2 * count.clamp(min=1))
        return LossValue(value=value, count=count, logits=logits, targets=targets)

    def logits(self, streams: Mapping[Stream, Tensor]) -> tuple[Tensor, Tensor]:
        """Summaries of images and texts (b, D) to scaled cosines per image and per text, each (b, b x ranks)."""
        return self._logits(*self._sides(streams))

    def _sides(self, streams: Mapping[Stream, Tensor]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """This rank's images (b, projection) and all ranks' texts (b x ranks, projection); then the other way round."""
        image = self.embed_image(streams[Streams.IMAGE_SUMMARY])
        text = self.embed_text(streams[Streams.TEXT_SUMMARY])
        return (image, gather(text, self.backprop)), (text, gather(image, self.backprop))

    def _logits(self, images: tuple[Tensor, Tensor], texts: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        scale = self.scale()
        return scale * images[0] @ images[1].T, scale * texts[0] @ texts[1].T

    def _in_chunks(self, own: Tensor, others: Tensor, targets: Tensor, size: int) -> Tensor:
        """The losses (b,) of so many rows at a time; their logits are thrown away, and made again for the gradient."""

        def losses(own: Tensor, others: Tensor, targets: Tensor) -> Tensor:
            return F.cross_entropy(self.scale() * own @ others.T, targets, reduction="none")

        return torch.cat(
            [
                checkpoint(losses, rows, others, wanted, use_reentrant=False, preserve_rng_state=False)
                for rows, wanted in zip(own.split(size), targets.split(size), strict=True)
            ]
        )
