"""torchvision's backbones for flava_parts: the plugin."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

from flava_parts import PartSpec, hookimpl

from .specs import ConvNeXtSpec, SwinSpec, ViTSpec


@hookimpl
def flava_parts_specs() -> list[type[PartSpec]]:
    """The image encoders."""
    return [ConvNeXtSpec, SwinSpec, ViTSpec]


@hookimpl
def flava_parts_presets() -> Traversable:
    """torchvision's published sizes, and the emoji run with each family."""
    return files(__name__) / "presets"
