"""Settings of the contrastive loss that several tests share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flava_parts.losses.contrastive import GlobalContrastive


class Unnormalised(GlobalContrastive):
    """The loss of projections as long as they come; torchmultimodal publishes its numbers for such."""

    def embed_image(self, summary: Tensor) -> Tensor:
        return self.image_projection(summary)

    def embed_text(self, summary: Tensor) -> Tensor:
        return self.text_projection(summary)


def unprojected(width: int, **choices: Any) -> Unnormalised:
    """The loss of summaries as they are: both projections are the identity."""
    loss = Unnormalised(image_width=width, text_width=width, projection=width, **choices)
    for projection in (loss.image_projection, loss.text_projection):
        nn.init.eye_(projection.weight)
    return loss


def published_setting() -> tuple[Tensor, Tensor, Unnormalised]:
    """Four images of 8 channels, four texts of 5, and two projections to 3, drawn as torchmultimodal's test does."""
    torch.manual_seed(0)
    images, texts = torch.randn(4, 8), torch.randn(4, 5)
    image_encoder, text_encoder = nn.Linear(8, 3), nn.Linear(5, 3)
    loss = Unnormalised(image_width=8, text_width=5, projection=3)
    loss.image_projection.load_state_dict(image_encoder.state_dict())
    loss.text_projection.load_state_dict(text_encoder.state_dict())
    return images, texts, loss
