"""timm's backbones for flava_parts: the plugin."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

from flava_parts import PartSpec, hookimpl

from .specs import TimmSpec


@hookimpl
def flava_parts_specs() -> list[type[PartSpec]]:
    """The image encoder."""
    return [TimmSpec]


@hookimpl
def flava_parts_presets() -> Traversable:
    """The emoji run with a small vision transformer, and with a small ConvNeXt."""
    return files(__name__) / "presets"
