"""The image encoder as a backbone in torchvision's style: 2-D feature maps of chosen blocks, into a feature pyramid."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from flava_parts.encoders.vision import VisionTransformer


class FeatureMaps(nn.Module):
    """Pixels (B, 3, H, W) to one map (B, D, H / patch, W / patch) for each of the ``layers``, counted from 1.

    ``out_channels`` is what torchvision's detectors and segmenters ask a backbone for. Any size that patches tile goes.
    """

    def __init__(self, vit: VisionTransformer, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.vit, self.layers, self.out_channels = vit, layers, vit.width

    def forward(self, pixels: Tensor) -> OrderedDict[str, Tensor]:
        states = self.vit(pixels, output_hidden_states=True).hidden_states
        rows, columns = (side // patch for side, patch in zip(pixels.shape[2:], self.vit.patch_size, strict=True))
        return OrderedDict(
            (str(layer), states[layer][:, self.vit.prefix :].transpose(1, 2).unflatten(2, (rows, columns)))
            for layer in self.layers
        )


if __name__ == "__main__":
    torch.manual_seed(0)
    vit = VisionTransformer(image_size=64, patch_size=8, width=48, depth=4, heads=3)
    backbone = FeatureMaps(vit, layers=(2, 4))
    pyramid = FeaturePyramidNetwork([backbone.out_channels] * 2, out_channels=16)
    maps = backbone(torch.rand(2, 3, 96, 64))
    for name, found in maps.items():
        print(f"block {name}: {tuple(found.shape)}")
    for name, found in pyramid(maps).items():
        print(f"pyramid {name}: {tuple(found.shape)}")
