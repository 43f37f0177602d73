"""torchvision's vision transformer as an image encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer  # pyright: ignore[reportMissingTypeStubs]

from flava_parts.facts import Grid, Size, pair
from flava_parts.layers.output import EncoderOutput

from .backbone import Backbone


class ViT(Backbone):
    """The class token is the summary; its normed state is the feature that torchvision's classifier reads."""

    head = "heads"

    def __init__(
        self,
        *,
        image_size: Size = 224,
        channels: int = 3,
        patch_size: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_width: int = 3072,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        weights: str | None = None,
    ) -> None:
        side = pair(image_size)[0]
        model = VisionTransformer(side, patch_size, depth, heads, width, mlp_width, dropout, attention_dropout)
        model.heads = nn.Sequential()
        grid = Grid(side // patch_size, side // patch_size)
        super().__init__(model=model, image_size=image_size, grid=grid, width=width, weights=weights)
        self.model: Any = model

    def embed(self, pixels: Tensor) -> Tensor:
        return self.model.conv_proj(pixels).permute(0, 2, 3, 1)

    def encode(self, patches: Tensor) -> EncoderOutput:
        summary = self.model.class_token.expand(patches.shape[0], -1, -1)
        states = torch.cat([summary, patches.flatten(1, 2)], dim=1)
        encoder = self.model.encoder
        states = encoder.layers(encoder.dropout(states + encoder.pos_embedding))
        return EncoderOutput(pre_norm=states, last_hidden_state=encoder.ln(states))
