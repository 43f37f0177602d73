"""The specs of transformers' encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveInt, model_validator

from flava_parts.encoders.specs import ImageEncoderSpec
from flava_parts.encoders.specs import TextEncoderSpec as TextEncoder
from flava_parts.facts import ImageTokens, TextTokens
from flava_parts.fields import Pixels
from flava_parts.part import PartSpec, fault

if TYPE_CHECKING:
    from .image import ImageTower
    from .text import TextTower


class SourceFields(PartSpec):
    """Where a model comes from: its configuration, given here, or a folder that holds it with its weights.

    What the part states is read from the model itself, built without memory; so its facts need torch and transformers.
    """

    config: dict[str, Any] | None = None
    """The model's configuration as in its config.json, with a `model_type`; random weights."""
    folder: str | None = None
    """A folder with a config.json and, as safetensors, the weights."""

    @model_validator(mode="after")
    def _one_source(self) -> SourceFields:
        if (self.config is None) == (self.folder is None):
            raise fault("config", "give the model's configuration, or a folder that holds it: one of the two")
        if self.config is not None and not isinstance(self.config.get("model_type"), str):
            raise fault("config", "needs a model_type, such as vit or bert")
        return self


class ImageTowerSpec(SourceFields, ImageEncoderSpec):
    """An image tower of transformers: ViT, DeiT, BEiT, DINOv2, or the vision model of CLIP, SigLIP or SigLIP2."""

    type: Literal["transformers.image"] = "transformers.image"
    image_size: Pixels = 224
    """Side of the input in pixels, or [height, width]: what the configuration has."""
    channels: PositiveInt = 3
    """Colour channels of the input (C): what the configuration has."""

    @property
    def tokens(self) -> ImageTokens:
        from .facts import image_tokens

        return image_tokens(self.config, self.folder, self.image_size, self.channels)

    def build(self) -> ImageTower:
        from .image import ImageTower

        return ImageTower(**self.arguments())


class TextEncoderSpec(SourceFields, TextEncoder):
    """A text encoder of transformers: any of AutoModel's whose first token is a summary, BERT and its kin."""

    type: Literal["transformers.text"] = "transformers.text"

    @property
    def tokens(self) -> TextTokens:
        from .facts import text_tokens

        return text_tokens(self.config, self.folder)

    def build(self) -> TextTower:
        from .text import TextTower

        return TextTower(**self.arguments())
