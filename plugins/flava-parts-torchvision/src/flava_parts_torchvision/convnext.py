"""torchvision's ConvNeXt as an image encoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig  # pyright: ignore[reportMissingTypeStubs]
from torchvision.models.convnext import ConvNeXt as Model  # pyright: ignore[reportMissingTypeStubs]

from flava_parts.facts import Grid, Size, pair
from flava_parts.layers.output import EncoderOutput

from .backbone import Backbone, with_mean


class ConvNeXt(Backbone):
    """The mean of the patches, normed, is the summary: the feature that torchvision's classifier reads.

    The mask token stands in for all cells of the stem below a hidden token of the last stage; the stem's convolution
    has a stride of its kernel, so that nothing of a hidden patch shows.
    """

    head = "classifier.2"

    def __init__(
        self,
        *,
        image_size: Size = 224,
        channels: int = 3,
        widths: tuple[int, ...] = (96, 192, 384, 768),
        depths: tuple[int, ...] = (3, 3, 9, 3),
        stochastic_depth: float = 0.1,
        layer_scale: float = 1e-6,
        weights: str | None = None,
    ) -> None:
        blocks = [
            CNBlockConfig(width, after, depth)
            for width, after, depth in zip(widths, (*widths[1:], None), depths, strict=True)
        ]
        model: Any = Model(blocks, stochastic_depth, layer_scale)
        model.classifier[2] = nn.Identity()
        (height, breadth), stride = pair(image_size), 4 * 2 ** (len(depths) - 1)
        grid = Grid(height // stride, breadth // stride)
        super().__init__(model=model, image_size=image_size, grid=grid, width=widths[0], weights=weights)
        self.model: Any = model

    def embed(self, pixels: Tensor) -> Tensor:
        return self.model.features[0][0](pixels).permute(0, 2, 3, 1)

    def encode(self, patches: Tensor) -> EncoderOutput:
        cells = self.model.features[0][1](patches.permute(0, 3, 1, 2))  # torchvision norms its stem
        states = self.model.features[1:](cells)
        states = with_mean(states.flatten(2).transpose(1, 2))
        norm = self.model.classifier[0]  # over the channels of an image (B, D, H, W)
        normed = norm(states.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)
        return EncoderOutput(pre_norm=states, last_hidden_state=normed)
