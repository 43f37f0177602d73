"""A small loss and a batch of pairs, the same in every process."""

from __future__ import annotations

import torch
from flava_parts_siglip.sigmoid import SigmoidContrastive
from torch import Tensor

from flava_parts.facts import Streams

ROWS, RANKS = 6, 2


def loss(chunk: int = 1024) -> SigmoidContrastive:
    torch.manual_seed(1)
    return SigmoidContrastive(
        image_width=5, text_width=4, projection=3, logit_scale=0.7, logit_bias=-1.3, chunk=chunk, init_std=0.5
    ).double()


def streams(rows: int = ROWS) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        Streams.IMAGE_SUMMARY: torch.randn(rows, 5, generator=generator, dtype=torch.float64),
        Streams.TEXT_SUMMARY: torch.randn(rows, 4, generator=generator, dtype=torch.float64),
    }


def gradients(module: SigmoidContrastive, value: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    value.backward()
    return {name: each.grad.clone() for name, each in module.named_parameters() if each.grad is not None}
