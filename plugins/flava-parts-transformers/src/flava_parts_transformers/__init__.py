"""transformers' encoders for flava_parts: the plugin."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

from flava_parts import PartSpec, hookimpl

from .specs import ImageTowerSpec, TextEncoderSpec


@hookimpl
def flava_parts_specs() -> list[type[PartSpec]]:
    """The encoders."""
    return [ImageTowerSpec, TextEncoderSpec]


@hookimpl
def flava_parts_presets() -> Traversable:
    """The emoji run with a ViT and a BERT of transformers."""
    return files(__name__) / "presets"
