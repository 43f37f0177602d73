"""The specs of encoders that skip patches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt, model_validator

from flava_parts.encoders.specs import ImageEncoderSpec, TransformerFields
from flava_parts.facts import Grid, ImageTokens, pair
from flava_parts.fields import Pixels, Rate
from flava_parts.part import fault

if TYPE_CHECKING:
    from .flip import FLIPViT
    from .masked import MAEViT


class SkippingViTSpec(TransformerFields, ImageEncoderSpec):
    """What both encoders share with `flava.vit`."""

    image_size: Pixels = 224
    """Side of the input in pixels, or [height, width]."""
    patch_size: Pixels = 16
    """Side of one patch in pixels, or [height, width]; it divides the image."""
    channels: PositiveInt = 3
    """Colour channels of the input (C)."""

    @model_validator(mode="after")
    def _patches_tile_the_image(self) -> SkippingViTSpec:
        for side, patch in zip(pair(self.image_size), pair(self.patch_size), strict=True):
            if side % patch:
                raise fault("patch_size", f"patches of {patch} pixels do not tile a side of {side}")
        return self

    @property
    def tokens(self) -> ImageTokens:
        (height, width), (rows, columns) = pair(self.image_size), pair(self.patch_size)
        return ImageTokens(grid=Grid(height // rows, width // columns), prefix=1, width=self.width)


class MAEViTSpec(SkippingViTSpec):
    """A vision transformer that encodes visible patches only, and a small decoder for the hidden (He et al. 2022)."""

    type: Literal["mae.vit"] = "mae.vit"
    decoder_width: PositiveInt = 512
    """Channels of the decoder's tokens."""
    decoder_depth: PositiveInt = 8
    """Transformer blocks of the decoder."""
    decoder_heads: PositiveInt = 16
    """Attention heads of each decoder block; they divide its width."""

    @model_validator(mode="after")
    def _heads_divide_the_decoder(self) -> MAEViTSpec:
        if self.decoder_width % self.decoder_heads:
            raise fault("decoder_heads", f"{self.decoder_heads} heads do not divide a width of {self.decoder_width}")
        return self

    def build(self) -> MAEViT:
        from .masked import MAEViT

        return MAEViT(**self.arguments())


class FLIPViTSpec(SkippingViTSpec):
    """A vision transformer that drops a share of the patches in training, where none are masked (Li et al. 2023)."""

    type: Literal["mae.flip"] = "mae.flip"
    mask_token: bool = True
    """Whether masked patches are replaced by a learnt token; needed by the masked losses."""
    drop: Rate = 0.5
    """Share of the patches that skip the blocks in training, drawn anew for each picture."""

    def build(self) -> FLIPViT:
        from .flip import FLIPViT

        return FLIPViT(**self.arguments())
