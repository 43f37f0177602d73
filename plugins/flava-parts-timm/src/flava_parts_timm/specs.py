"""The spec of timm's backbones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import PositiveInt, StringConstraints

from flava_parts.encoders.specs import ImageEncoderSpec
from flava_parts.facts import ImageTokens
from flava_parts.fields import Pixels

if TYPE_CHECKING:
    from .backbone import TimmBackbone

Model = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]
"""A name of timm's registry, without the tag of its weights."""


class TimmSpec(ImageEncoderSpec):
    """Any backbone of timm that gives a grid of features, by its name.

    What it states is read from the model itself, built without memory; so its facts need torch and timm.
    """

    type: Literal["timm.backbone"] = "timm.backbone"
    model: Model = "vit_base_patch16_224"
    """The model's name in timm, without the tag of its weights."""
    image_size: Pixels = 224
    """Side of the input in pixels, or [height, width]."""
    channels: PositiveInt = 3
    """Colour channels of the input (C)."""
    weights: str | None = None
    """A safetensors file of the timm model's state dict; random weights if not given."""

    @property
    def tokens(self) -> ImageTokens:
        from .features import features

        return features(self.model, self.image_size, self.channels).tokens

    def build(self) -> TimmBackbone:
        from .backbone import TimmBackbone

        return TimmBackbone(**self.arguments())
