"""The specs of encoders: what an image encoder and a text encoder state, and FLAVA's own two."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ..facts import Grid, ImageTokens, Size, TextTokens, pair
from ..fields import Activation, Pixels, Rate
from ..part import PartSpec, fault

if TYPE_CHECKING:
    from torch import nn

    from .text import TextTransformer
    from .vision import VisionTransformer


class ImageEncoderSpec(PartSpec):
    """An image encoder: pixels (B, C, H, W) and a patch mask (B, P) to `EncoderOutput` of (B, prefix + P, D)."""

    kind: ClassVar[str] = "image_encoder"
    image_size: Pixels
    channels: PositiveInt

    @property
    @abstractmethod
    def tokens(self) -> ImageTokens:
        """The sequence that the encoder returns."""

    @abstractmethod
    def build(self) -> nn.Module:
        """The module, on torch's current default device: an encoder by what its forward takes and returns."""


class TextEncoderSpec(PartSpec):
    """A text encoder: ids (B, L) and a keep mask (B, L) to `EncoderOutput` of (B, L, D)."""

    kind: ClassVar[str] = "text_encoder"

    @property
    @abstractmethod
    def tokens(self) -> TextTokens:
        """The sequence that the encoder returns."""

    @abstractmethod
    def build(self) -> nn.Module:
        """The module, on torch's current default device: an encoder by what its forward takes and returns."""


class TransformerFields(PartSpec):
    """The choices that every pre-norm transformer of FLAVA has (paper, section 3 and table A.1)."""

    width: PositiveInt = 768
    """Channels of each token (D)."""
    depth: PositiveInt = 12
    """Number of transformer blocks."""
    heads: PositiveInt = 12
    """Attention heads of each block; they divide the width."""
    mlp_width: PositiveInt | None = None
    """Hidden channels of each block's MLP; 4 x width if not given."""
    activation: Activation = "gelu"
    """The MLP's non-linearity; gelu_new is the tanh approximation."""
    dropout: Rate = 0.0
    """Dropout probability of embeddings and of both residual branches."""
    attention_dropout: Rate = 0.0
    """Dropout probability of the attention weights."""
    qkv_bias: bool = True
    """Whether queries, keys and values have a bias."""
    norm_eps: PositiveFloat = 1e-12
    """The epsilon of every layer norm."""
    init_std: PositiveFloat = 0.02
    """Standard deviation of the normal distribution that weights start from."""
    pooler: bool = False
    """Whether to add BERT's pooler (dense and tanh on the first token). No pretraining loss trains it."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> TransformerFields:
        if self.width % self.heads:
            raise fault("heads", f"{self.heads} heads do not divide a width of {self.width}")
        return self


class ViTSpec(TransformerFields, ImageEncoderSpec):
    """A pre-norm vision transformer with one summary token and a mask token (ViT; FLAVA section 3.1)."""

    type: Literal["flava.vit"] = "flava.vit"
    image_size: Pixels = 224
    """Side of the input in pixels, or [height, width]."""
    patch_size: Pixels = 16
    """Side of one patch in pixels, or [height, width]; it divides the image."""
    channels: PositiveInt = 3
    """Colour channels of the input (C)."""
    mask_token: bool = True
    """Whether masked patches are replaced by a learnt token; needed by the masked losses."""

    @model_validator(mode="after")
    def _patches_tile_the_image(self) -> ViTSpec:
        for side, patch in zip(pair(self.image_size), pair(self.patch_size), strict=True):
            if side % patch:
                raise fault("patch_size", f"patches of {patch} pixels do not tile a side of {side}")
        return self

    @property
    def tokens(self) -> ImageTokens:
        return ImageTokens(grid=_grid(self.image_size, self.patch_size), prefix=1, width=self.width)

    def build(self) -> VisionTransformer:
        from .vision import VisionTransformer

        return VisionTransformer(**self.arguments())


class TextTransformerSpec(TransformerFields, TextEncoderSpec):
    """BERT's embeddings and pre-norm transformer blocks (FLAVA section 3.1)."""

    type: Literal["flava.text"] = "flava.text"
    vocab_size: PositiveInt = 30522
    """Number of token ids (V)."""
    length: PositiveInt = 512
    """The longest text in tokens."""
    token_types: PositiveInt = 2
    """Number of segment ids."""
    position_embedding: Literal["absolute", "relative_key", "relative_key_query"] = "absolute"
    """absolute: learnt positions; relative_key: Shaw et al. 2018; relative_key_query: Huang et al. 2020, method 4."""
    pad_token_id: NonNegativeInt = 0
    """The id whose embedding stays zero."""

    @model_validator(mode="after")
    def _padding_is_a_token(self) -> TextTransformerSpec:
        if self.pad_token_id >= self.vocab_size:
            raise fault("pad_token_id", f"{self.pad_token_id} is not below the vocabulary of {self.vocab_size}")
        return self

    @property
    def tokens(self) -> TextTokens:
        return TextTokens(length=self.length, width=self.width, vocab_size=self.vocab_size)

    def build(self) -> TextTransformer:
        from .text import TextTransformer

        return TextTransformer(**self.arguments())


def _grid(image: Size, patch: Size) -> Grid:
    (height, width), (rows, columns) = pair(image), pair(patch)
    return Grid(height // rows, width // columns)
