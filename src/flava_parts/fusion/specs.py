"""The specs of fusion: how the sequences of image and text become one."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveInt

from ..encoders.specs import TransformerFields
from ..facts import ImageTokens, Layout, TextTokens
from ..part import PartSpec

if TYPE_CHECKING:
    from torch import nn

    from .transformer import FusionTransformer


class FusionSpec(PartSpec):
    """A fusion part: pre-norm states of image (B, prefix + P, D) and text (B, L, D) to (B, length, D)."""

    kind: ClassVar[str] = "fusion"

    @abstractmethod
    def layout(self, image: ImageTokens, text: TextTokens) -> Layout:
        """Where summary, patches and words lie in the fused sequence of the longest text."""

    @abstractmethod
    def build(self, *, image: ImageTokens, text: TextTokens) -> nn.Module:
        """The module, on torch's current default device; it has a `layout` that agrees with the spec's."""


class FusionTransformerSpec(TransformerFields, FusionSpec):
    """FLAVA's multimodal transformer over the projected states of both encoders (FLAVA section 3.1)."""

    type: Literal["flava.fusion"] = "flava.fusion"
    depth: PositiveInt = 6
    """Number of transformer blocks."""
    cls_token: bool = True
    """Whether a summary token of the pair is put in front; without it the image's own stands for the pair."""
    mask_text_padding: bool = True
    """Whether padding words are hidden from attention; facebook/flava-full was trained with false."""

    def layout(self, image: ImageTokens, text: TextTokens) -> Layout:
        return Layout.of(
            own=int(self.cls_token), prefix=image.prefix, patches=image.grid.size, words=text.length, width=self.width
        )

    def build(self, *, image: ImageTokens, text: TextTokens) -> FusionTransformer:
        from .transformer import FusionTransformer

        return FusionTransformer(image=image, text=text, **self.arguments())
