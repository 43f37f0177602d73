"""Telling pairs that belong together from pairs that do not, one pair at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from flava_parts.facts import Stream, Streams
from flava_parts.layers.initialize import initialize
from flava_parts.losses.gather import gather, rank_and_size
from flava_parts.losses.value import LossValue


class SigmoidContrastive(nn.Module):
    """The sigmoid loss over the pairs of all ranks (Zhai et al. 2023, algorithm 1).

    ``-1/B sum_ij log sigmoid(z_ij (t x_i . y_j + b))``: z is 1 where text j is image i's and -1 elsewhere, t the
    scale, b the bias. No pair needs another one, so the logits are computed ``chunk`` texts at a time and thrown away;
    backward computes them again. The whole matrix (b, b x ranks) never exists.
    """

    def __init__(
        self,
        *,
        image_width: int,
        text_width: int,
        weight: float = 1.0,
        projection: int = 768,
        logit_scale: float = 2.3026,
        logit_bias: float = -10.0,
        chunk: int = 1024,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.chunk = chunk
        self.image_projection = nn.Linear(image_width, projection)
        self.text_projection = nn.Linear(text_width, projection)
        self.logit_scale = nn.Parameter(torch.tensor(logit_scale))
        self.logit_bias = nn.Parameter(torch.tensor(logit_bias))
        initialize(self, init_std)

    def embed_image(self, summary: Tensor) -> Tensor:
        """Summary tokens (B, D) to unit vectors (B, projection)."""
        return F.normalize(self.image_projection(summary), dim=-1)

    def embed_text(self, summary: Tensor) -> Tensor:
        """Summary tokens (B, D) to unit vectors (B, projection)."""
        return F.normalize(self.text_projection(summary), dim=-1)

    def forward(self, streams: Mapping[Stream, Tensor], *, dense: bool = False) -> LossValue:
        """Summaries of images and texts (b, D) to the loss, the sum over this rank's images divided by their number.

        Where `Streams.MATCHED` says which rows are true pairs, the others are left out, both as images and as texts:
        a text that was put beside another image still describes its own, and would be a false negative there.
        Logits (b, b x ranks), per image and per text, are returned only if ``dense`` asks for them.
        """
        image, text = self._embed(streams)
        targets = self._targets(image)
        matched = streams.get(Streams.MATCHED)
        rows = torch.ones_like(targets, dtype=torch.bool) if matched is None else matched
        texts, columns = gather(text, "global"), gather(rows.int(), "none").bool()
        parts: list[Tensor] = []
        for start in range(0, texts.shape[0], self.chunk):
            some = slice(start, start + self.chunk)
            surprise: Any = checkpoint(
                self._surprise, image, texts[some], targets - start, rows, columns[some], use_reentrant=False
            )
            parts.append(surprise)
        count = rows.sum()
        return LossValue(
            value=self.weight * torch.stack(parts).sum() / count.clamp(min=1),
            count=count,
            logits=self.logits(streams) if dense else None,
            targets=targets,
        )

    def logits(self, streams: Mapping[Stream, Tensor]) -> tuple[Tensor, Tensor]:
        """Summaries of images and texts (b, D) to the logits of pairs, per image and per text, each (b, b x ranks)."""
        image, text = self._embed(streams)
        return self._logits(image, gather(text, "global")), self._logits(text, gather(image, "global"))

    def _embed(self, streams: Mapping[Stream, Tensor]) -> tuple[Tensor, Tensor]:
        return self.embed_image(streams[Streams.IMAGE_SUMMARY]), self.embed_text(streams[Streams.TEXT_SUMMARY])

    def _logits(self, own: Tensor, others: Tensor) -> Tensor:
        return self.logit_scale.exp() * own @ others.T + self.logit_bias

    def _targets(self, image: Tensor) -> Tensor:
        """The column (b,) of each image's own text among those of all ranks."""
        rank, _ = rank_and_size()
        return rank * image.shape[0] + torch.arange(image.shape[0], device=image.device)

    def _surprise(self, image: Tensor, text: Tensor, target: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """``-sum log sigmoid`` () of images (b, D) and a chunk of texts (c, D); ``target`` (b,) counts from the chunk.

        ``rows`` (b,) and ``columns`` (c,) are the images and texts that count.
        """
        positive = target[:, None] == torch.arange(text.shape[0], device=text.device)
        logits = self._logits(image, text)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        surprise = -F.logsigmoid(torch.where(positive, logits, -logits))
        return (surprise * (rows[:, None] & columns)).sum()
