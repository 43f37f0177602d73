"""The specs of torchvision's backbones: what each states follows from its fields, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from annotated_types import MinLen
from pydantic import BeforeValidator, PositiveFloat, PositiveInt, model_validator

from flava_parts.encoders.specs import ImageEncoderSpec
from flava_parts.facts import Grid, ImageTokens, pair
from flava_parts.fields import Pixels, Rate
from flava_parts.part import fault

if TYPE_CHECKING:
    from .convnext import ConvNeXt
    from .swin import Swin
    from .vit import ViT


def _tuple(value: Any) -> Any:
    return tuple(cast(list[object], value)) if isinstance(value, list) else value


Stages = Annotated[tuple[PositiveInt, ...], MinLen(1), BeforeValidator(_tuple)]
"""A number for each stage."""


class BackboneSpec(ImageEncoderSpec):
    """An image encoder that torchvision built."""

    @model_validator(mode="after")
    def _reads_colours(self) -> BackboneSpec:
        if self.channels != 3:
            raise fault("channels", f"torchvision's backbones read 3 channels, not {self.channels}")
        return self


class ViTSpec(BackboneSpec):
    """torchvision's vision transformer, vit_b_16 by default (Dosovitskiy et al. 2021)."""

    type: Literal["torchvision.vit"] = "torchvision.vit"
    image_size: Pixels = 224
    """Side of the square input in pixels."""
    channels: PositiveInt = 3
    """Colour channels of the input (C): three, as torchvision's backbones read them."""
    patch_size: PositiveInt = 16
    """Side of one square patch in pixels; it divides the image."""
    width: PositiveInt = 768
    """Channels of each token (D)."""
    depth: PositiveInt = 12
    """Number of transformer blocks."""
    heads: PositiveInt = 12
    """Attention heads of each block; they divide the width."""
    mlp_width: PositiveInt = 3072
    """Hidden channels of each block's MLP."""
    dropout: Rate = 0.0
    """Dropout probability of embeddings and of both residual branches."""
    attention_dropout: Rate = 0.0
    """Dropout probability of the attention weights."""
    weights: str | None = None
    """A safetensors file of the torchvision model's state dict; random weights if not given."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> ViTSpec:
        height, width = pair(self.image_size)
        if height != width:
            raise fault("image_size", f"torchvision's ViT reads squares, not {height}x{width}")
        if height % self.patch_size:
            raise fault("patch_size", f"patches of {self.patch_size} pixels do not tile a side of {height}")
        if self.width % self.heads:
            raise fault("heads", f"{self.heads} heads do not divide a width of {self.width}")
        return self

    @property
    def tokens(self) -> ImageTokens:
        side = pair(self.image_size)[0] // self.patch_size
        return ImageTokens(grid=Grid(side, side), prefix=1, width=self.width)

    def build(self) -> ViT:
        from .vit import ViT

        return ViT(**self.arguments())


class SwinSpec(BackboneSpec):
    """torchvision's Swin transformer, swin_t by default (Liu et al. 2021)."""

    type: Literal["torchvision.swin"] = "torchvision.swin"
    image_size: Pixels = 224
    """Side of the input in pixels, or [height, width]; the last stage's stride divides it."""
    channels: PositiveInt = 3
    """Colour channels of the input (C): three, as torchvision's backbones read them."""
    patch_size: PositiveInt = 4
    """Side of one square patch of the first stage; each later stage halves the grid."""
    width: PositiveInt = 96
    """Channels of the first stage; each later stage doubles them."""
    depths: Stages = (2, 2, 6, 2)
    """Blocks of each stage."""
    heads: Stages = (3, 6, 12, 24)
    """Attention heads of each stage's blocks; they divide its width."""
    window: PositiveInt = 7
    """Side of the windows that attention stays in, in patches."""
    mlp_ratio: PositiveFloat = 4.0
    """Hidden channels of each block's MLP, in widths."""
    dropout: Rate = 0.0
    """Dropout probability of both residual branches."""
    attention_dropout: Rate = 0.0
    """Dropout probability of the attention weights."""
    stochastic_depth: Rate = 0.2
    """Probability that the last block is skipped in training; earlier ones less, linearly."""
    weights: str | None = None
    """A safetensors file of the torchvision model's state dict; random weights if not given."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> SwinSpec:
        if len(self.depths) != len(self.heads):
            raise fault("heads", f"there are {len(self.depths)} depths but {len(self.heads)} heads, one a stage")
        for stage, heads in enumerate(self.heads):
            if self.width * 2**stage % heads:
                raise fault("heads", f"{heads} heads do not divide a width of {self.width * 2**stage}")
        _check_stride(self.image_size, self.stride)
        return self

    @property
    def stride(self) -> int:
        """Pixels from one token of the last stage to the next."""
        return self.patch_size * 2 ** (len(self.depths) - 1)

    @property
    def tokens(self) -> ImageTokens:
        width = self.width * 2 ** (len(self.depths) - 1)
        return ImageTokens(grid=_grid(self.image_size, self.stride), prefix=1, width=width)

    def build(self) -> Swin:
        from .swin import Swin

        return Swin(**self.arguments())


class ConvNeXtSpec(BackboneSpec):
    """torchvision's ConvNeXt, convnext_tiny by default (Liu et al. 2022)."""

    type: Literal["torchvision.convnext"] = "torchvision.convnext"
    image_size: Pixels = 224
    """Side of the input in pixels, or [height, width]; the last stage's stride divides it."""
    channels: PositiveInt = 3
    """Colour channels of the input (C): three, as torchvision's backbones read them."""
    widths: Stages = (96, 192, 384, 768)
    """Channels of each stage; the first halves the grid twice, each later one once."""
    depths: Stages = (3, 3, 9, 3)
    """Blocks of each stage."""
    stochastic_depth: Rate = 0.1
    """Probability that the last block is skipped in training; earlier ones less, linearly."""
    layer_scale: PositiveFloat = 1e-6
    """What each residual branch is multiplied by at first."""
    weights: str | None = None
    """A safetensors file of the torchvision model's state dict; random weights if not given."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> ConvNeXtSpec:
        if len(self.depths) != len(self.widths):
            raise fault("depths", f"there are {len(self.widths)} widths but {len(self.depths)} depths, one a stage")
        if sum(self.depths) < 2:
            raise fault("depths", "torchvision's ConvNeXt has at least two blocks")
        _check_stride(self.image_size, self.stride)
        return self

    @property
    def stride(self) -> int:
        """Pixels from one token of the last stage to the next."""
        return 4 * 2 ** (len(self.depths) - 1)

    @property
    def tokens(self) -> ImageTokens:
        return ImageTokens(grid=_grid(self.image_size, self.stride), prefix=1, width=self.widths[-1])

    def build(self) -> ConvNeXt:
        from .convnext import ConvNeXt

        return ConvNeXt(**self.arguments())


def _check_stride(image_size: int | tuple[int, int], stride: int) -> None:
    for side in pair(image_size):
        if side % stride:
            raise fault("image_size", f"the last stage's stride of {stride} pixels does not tile a side of {side}")


def _grid(image_size: int | tuple[int, int], stride: int) -> Grid:
    height, width = pair(image_size)
    return Grid(height // stride, width // stride)
