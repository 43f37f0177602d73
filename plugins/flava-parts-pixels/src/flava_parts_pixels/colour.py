"""The codebook that rounds colours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from flava_parts.codebooks.codebook import Codebook
from flava_parts.facts import Size, pair


class ColourCodes(Codebook):
    """Pixels (B, C, H, W) from 0 to 1 to codes (B, P): each patch's mean colour, in ``levels`` steps a channel."""

    def __init__(self, *, image_size: Size = 112, patch_size: Size = 8, channels: int = 3, levels: int = 8) -> None:
        super().__init__(image_size=image_size, channels=channels, weights=None)
        self.patch_size, self.levels = pair(patch_size), levels
        self.ready = True

    def assign(self, pixels: Tensor) -> Tensor:
        colours = F.avg_pool2d(pixels, self.patch_size).flatten(2)  # (B, C, P)
        steps = (colours * self.levels).long().clamp(0, self.levels - 1)
        places = self.levels ** torch.arange(self.channels, device=pixels.device)
        return (steps * places[:, None]).sum(dim=1)
