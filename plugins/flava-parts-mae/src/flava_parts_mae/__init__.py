"""Encoders that skip patches, for flava_parts: the plugin."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

from flava_parts import PartSpec, hookimpl

from .specs import FLIPViTSpec, MAEViTSpec


@hookimpl
def flava_parts_specs() -> list[type[PartSpec]]:
    """The image encoders."""
    return [FLIPViTSpec, MAEViTSpec]


@hookimpl
def flava_parts_presets() -> Traversable:
    """The emoji run with each."""
    return files(__name__) / "presets"
