"""FLIP's encoder: in training a share of the patches skips the blocks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from flava_parts.encoders.vision import VisionTransformer
from flava_parts.facts import Size
from flava_parts.layers.attention import keep_bias
from flava_parts.layers.output import EncoderOutput

from .tokens import take


class FLIPViT(VisionTransformer):
    """A vision transformer that drops patches in training, for the contrastive loss (Li et al. 2023, section 3).

    A dropped patch takes no part in the blocks: what it has afterwards is its embedding. In evaluation mode, and
    where patches are hidden for the masked losses, it is the dense encoder.
    """

    def __init__(
        self,
        *,
        image_size: Size = 224,
        patch_size: Size = 16,
        channels: int = 3,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_width: int | None = None,
        activation: str = "gelu",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        qkv_bias: bool = True,
        norm_eps: float = 1e-12,
        init_std: float = 0.02,
        mask_token: bool = True,
        pooler: bool = False,
        drop: float = 0.5,
    ) -> None:
        super().__init__(
            image_size=image_size,
            patch_size=patch_size,
            channels=channels,
            width=width,
            depth=depth,
            heads=heads,
            mlp_width=mlp_width,
            activation=activation,
            dropout=dropout,
            attention_dropout=attention_dropout,
            qkv_bias=qkv_bias,
            norm_eps=norm_eps,
            init_std=init_std,
            mask_token=mask_token,
            pooler=pooler,
        )
        self.drop = drop

    def forward(
        self, pixels: Tensor, masked: Tensor | None = None, keep: Tensor | None = None, **output: Any
    ) -> EncoderOutput:
        """Pixels (B, C, H, W) to the states of summary and patches (B, 1 + P, D); as `VisionTransformer`.

        Which patches are dropped comes from torch's default generator, as dropout does.
        """
        dense = masked is not None or any(value is not None and value is not False for value in output.values())
        if dense or not self.training or not self.drop:
            return super().forward(pixels, masked, keep, **output)
        patches = self.patch_embedding(pixels)
        states = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        states = self.dropout(states + self.positions(self._grid_of(pixels)))
        kept = self._draw(patches)
        bias = None
        if keep is not None:
            attended = F.pad(self._per_patch(keep, patches, "keep").bool(), (self.prefix, 0), value=True)
            bias = keep_bias(take(attended, kept), states.dtype)
        encoded = self.run(take(states, kept), bias)
        places = kept[..., None].expand(-1, -1, states.shape[2])
        states = states.scatter(1, places, encoded.pre_norm)
        normed = self.norm(states)
        return EncoderOutput(pre_norm=states, last_hidden_state=normed, pooler_output=encoded.pooler_output)

    def _draw(self, patches: Tensor) -> Tensor:
        """The tokens (B, 1 + kept) that go through the blocks: the summary, and patches of (B, P, D) drawn anew."""
        rows, count = patches.shape[:2]
        drawn = torch.rand(rows, count, device=patches.device).argsort(dim=1)[:, : count - int(self.drop * count)]
        return F.pad(drawn.sort(dim=1).values + self.prefix, (self.prefix, 0), value=0)
