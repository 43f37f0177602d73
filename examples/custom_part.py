"""A part of one's own: a codebook that rounds the colour of each patch, named in YAML and trained against."""

from __future__ import annotations

import sys
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import flava_parts as fp
from flava_parts.codebooks.specs import CodebookSpec
from flava_parts.data.sources.emoji import Emoji
from flava_parts.facts import Codes, Grid
from flava_parts.fields import Pixels, PositiveInt
from flava_parts.inputs.specs import ViewsSpec
from flava_parts.inputs.views import Views

STEPS = 20

MODEL = """\
base: flava.tiny
codebook: {type: mine.colour, image_size: 32, cells: 4, levels: 5}
losses: {mlm: null, mmm_image: null, mmm_text: null, itm: null, global_contrastive: null}
fusion: null
text_masker: null
pair_masker: null
"""


class ColourCodes(nn.Module):
    """Pixels (B, 3, H, W) from 0 to 1 to codes (B, P): each cell's mean colour, in ``levels`` steps a channel."""

    def __init__(self, *, image_size: int = 112, channels: int = 3, cells: int = 14, levels: int = 4) -> None:
        super().__init__()
        self.cells, self.levels = cells, levels
        self.register_buffer("place", levels ** torch.arange(channels), persistent=False)

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Tensor:
        colours = F.adaptive_avg_pool2d(pixels.float(), self.cells).flatten(2)  # (B, 3, P)
        steps = (colours * self.levels).long().clamp(max=self.levels - 1)
        return (steps * self.place[:, None]).sum(1)


class ColourCodesSpec(CodebookSpec):
    """The mean colour of each cell of the picture, rounded."""

    type: Literal["mine.colour"] = "mine.colour"
    image_size: Pixels = 112
    """Side of the input in pixels."""
    channels: PositiveInt = 3
    """Colour channels of the input (C)."""
    cells: PositiveInt = 14
    """Cells a side; each gets one code."""
    levels: PositiveInt = 4
    """Steps of each channel; there are levels^channels codes."""

    @property
    def codes(self) -> Codes:
        return Codes(grid=Grid(self.cells, self.cells), vocab_size=self.levels**self.channels)

    @property
    def learns_from_images(self) -> bool:
        return False  # nothing is fitted before training

    @property
    def is_random(self) -> bool:
        return False  # its codes mean something from the start

    def build(self) -> ColourCodes:
        return ColourCodes(**self.arguments())


@fp.hookimpl
def flava_parts_specs() -> list[type[fp.PartSpec]]:
    return [ColourCodesSpec]


if __name__ == "__main__":
    registry = fp.load_registry(plugins=[sys.modules[__name__]])  # an installed plugin needs no such line
    spec = fp.load_spec(MODEL, registry=registry)
    torch.manual_seed(0)
    draws = torch.Generator().manual_seed(0)
    model = fp.compose(spec)
    views, emoji = Views.of(spec, ViewsSpec()), Emoji()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(STEPS):
        rows = torch.randint(len(emoji), (64,), generator=draws).tolist()
        seen = views([emoji.sample(row).image for row in rows], draws)
        output = model(**model.mask(seen._asdict(), draws))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        print(f"step {step + 1}: mim {output.losses['mim'].item():.3f}, {output.counts['mim']} patches")
