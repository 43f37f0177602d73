"""The spec of colour codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt, model_validator

from flava_parts.codebooks.specs import CodebookSpec
from flava_parts.facts import Codes, Grid, pair
from flava_parts.fields import Pixels
from flava_parts.part import fault

if TYPE_CHECKING:
    from .colour import ColourCodes


class ColourCodesSpec(CodebookSpec):
    """The mean colour of each patch, rounded: codes without weights, without a file, without a fit."""

    type: Literal["pixels.colour"] = "pixels.colour"
    image_size: Pixels = 112
    """Side of the input in pixels, or [height, width]."""
    patch_size: Pixels = 8
    """Side of the patch that one code stands for, in pixels, or [height, width]; it divides the image."""
    channels: PositiveInt = 3
    """Colour channels of the input (C)."""
    levels: PositiveInt = 8
    """Steps of each channel; there are levels^channels codes."""

    @model_validator(mode="after")
    def _patches_tile_the_image(self) -> ColourCodesSpec:
        for side, patch in zip(pair(self.image_size), pair(self.patch_size), strict=True):
            if side % patch:
                raise fault("patch_size", f"patches of {patch} pixels do not tile a side of {side}")
        return self

    @property
    def codes(self) -> Codes:
        (height, width), (rows, columns) = pair(self.image_size), pair(self.patch_size)
        return Codes(grid=Grid(height // rows, width // columns), vocab_size=self.levels**self.channels)

    @property
    def learns_from_images(self) -> bool:
        return False

    @property
    def is_random(self) -> bool:
        return False

    def build(self) -> ColourCodes:
        from .colour import ColourCodes

        return ColourCodes(**self.arguments())
