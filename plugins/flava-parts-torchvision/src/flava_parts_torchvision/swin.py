"""torchvision's Swin transformer as an image encoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer  # pyright: ignore[reportMissingTypeStubs]

from flava_parts.facts import Grid, Size, pair
from flava_parts.layers.output import EncoderOutput

from .backbone import Backbone, with_mean


class Swin(Backbone):
    """The mean of the normed patches is the summary, the feature that torchvision's classifier reads.

    The mask token stands in for all patches of the first stage below a hidden token of the last, as in SimMIM (Xie et
    al. 2022).
    """

    head = "head"

    def __init__(
        self,
        *,
        image_size: Size = 224,
        channels: int = 3,
        patch_size: int = 4,
        width: int = 96,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        heads: tuple[int, ...] = (3, 6, 12, 24),
        window: int = 7,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        stochastic_depth: float = 0.2,
        weights: str | None = None,
    ) -> None:
        model: Any = SwinTransformer(
            patch_size=[patch_size, patch_size],
            embed_dim=width,
            depths=list(depths),
            num_heads=list(heads),
            window_size=[window, window],
            mlp_ratio=mlp_ratio,
            dropout=dropout,
            attention_dropout=attention_dropout,
            stochastic_depth_prob=stochastic_depth,
        )
        model.head = nn.Identity()
        (height, breadth), stride = pair(image_size), patch_size * 2 ** (len(depths) - 1)
        grid = Grid(height // stride, breadth // stride)
        super().__init__(model=model, image_size=image_size, grid=grid, width=width, weights=weights)
        self.model: Any = model

    def embed(self, pixels: Tensor) -> Tensor:
        projection, to_last, _ = self.model.features[0]
        return to_last(projection(pixels))

    def encode(self, patches: Tensor) -> EncoderOutput:
        patches = self.model.features[0][2](patches)  # torchvision norms its patch embeddings
        states = self.model.features[1:](patches).flatten(1, 2)
        return EncoderOutput(pre_norm=with_mean(states), last_hidden_state=with_mean(self.model.norm(states)))
