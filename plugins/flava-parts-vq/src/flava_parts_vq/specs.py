"""The specs of trainable codebooks."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from annotated_types import Ge, MinLen
from pydantic import BeforeValidator, PositiveFloat, PositiveInt, model_validator

from flava_parts.codebooks.specs import CodebookSpec
from flava_parts.facts import Codes, Grid, pair
from flava_parts.fields import Pixels, Rate
from flava_parts.part import fault

if TYPE_CHECKING:
    from .autoencoder import FSQCodebook, ResidualVQCodebook, VQCodebook


def _tuple(value: Any) -> Any:
    return tuple(cast(list[object], value)) if isinstance(value, list) else value


class AutoencoderSpec(CodebookSpec):
    """What the trainable codebooks share: an autoencoder over patches, fitted on the run's own images."""

    image_size: Pixels = 112
    """Side of the input in pixels, or [height, width]."""
    patch_size: Pixels = 8
    """Side of the patch that one code stands for, in pixels, or [height, width]; it divides the image."""
    channels: PositiveInt = 3
    """Colour channels of the input (C)."""
    width: PositiveInt = 64
    """Channels of the autoencoder's layers."""
    blocks: PositiveInt = 2
    """Residual blocks of the encoder, and of the decoder; each sees one patch further."""
    steps: PositiveInt = 1000
    """Updates of the fit."""
    batch_size: PositiveInt = 64
    """Pictures of each update."""
    learning_rate: PositiveFloat = 1e-3
    """Adam's step size; it falls to zero along a cosine."""
    weights: str | None = None
    """A safetensors file of a fitted codebook; if not given, the run fits it on its own images."""

    @model_validator(mode="after")
    def _patches_tile_the_image(self) -> AutoencoderSpec:
        for side, patch in zip(pair(self.image_size), pair(self.patch_size), strict=True):
            if side % patch:
                raise fault("patch_size", f"patches of {patch} pixels do not tile a side of {side}")
        return self

    @property
    def grid(self) -> Grid:
        """The cells that codes are for."""
        (height, width), (rows, columns) = pair(self.image_size), pair(self.patch_size)
        return Grid(height // rows, width // columns)

    @property
    def learns_from_images(self) -> bool:
        return self.weights is None

    @property
    def is_random(self) -> bool:
        return False


class VQSpec(AutoencoderSpec):
    """VQ-VAE: the nearest of V vectors, which follow the encoder as moving averages (van den Oord et al. 2017)."""

    type: Literal["vq.vq"] = "vq.vq"
    vocab_size: PositiveInt = 1024
    """Number of codes (V)."""
    code_width: PositiveInt = 16
    """Channels of a code's vector."""
    decay: Rate = 0.95
    """What a moving average keeps at each update (appendix A.1)."""
    commitment: PositiveFloat = 0.25
    """Weight of the loss that holds the encoder to its codes (equation 3)."""

    @property
    def codes(self) -> Codes:
        return Codes(grid=self.grid, vocab_size=self.vocab_size)

    def build(self) -> VQCodebook:
        from .autoencoder import VQCodebook

        return VQCodebook(**self.arguments()).with_weights(self.weights)


class ResidualVQSpec(AutoencoderSpec):
    """Several codebooks, each for what the ones before left over (SoundStream; Zeghidour et al. 2021, III-C)."""

    type: Literal["vq.residual"] = "vq.residual"
    stages: PositiveInt = 2
    """Codebooks, one after the other."""
    stage_size: PositiveInt = 32
    """Vectors of each; a code is a number of that many digits in this base."""
    code_width: PositiveInt = 16
    """Channels of a code's vector."""
    decay: Rate = 0.95
    """What a moving average keeps at each update."""
    commitment: PositiveFloat = 0.25
    """Weight of the loss that holds the encoder to its codes."""

    @property
    def codes(self) -> Codes:
        return Codes(grid=self.grid, vocab_size=self.stage_size**self.stages)

    def build(self) -> ResidualVQCodebook:
        from .autoencoder import ResidualVQCodebook

        return ResidualVQCodebook(**self.arguments()).with_weights(self.weights)


class FSQSpec(AutoencoderSpec):
    """Finite scalar quantisation: each of a few channels rounded to a few levels (Mentzer et al. 2023)."""

    type: Literal["vq.fsq"] = "vq.fsq"
    levels: Annotated[tuple[Annotated[int, Ge(2)], ...], MinLen(1), BeforeValidator(_tuple)] = (8, 5, 5, 5)
    """Levels of each channel; there are as many codes as their product (table 1 of the paper)."""

    @property
    def codes(self) -> Codes:
        return Codes(grid=self.grid, vocab_size=prod(self.levels))

    def build(self) -> FSQCodebook:
        from .autoencoder import FSQCodebook

        return FSQCodebook(**self.arguments()).with_weights(self.weights)
