"""Weight-free colour codes for flava_parts: the plugin."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

from flava_parts import PartSpec, hookimpl

from .specs import ColourCodesSpec


@hookimpl
def flava_parts_specs() -> list[type[PartSpec]]:
    """The codebook."""
    return [ColourCodesSpec]


@hookimpl
def flava_parts_presets() -> Traversable:
    """The emoji run with colours as codes."""
    return files(__name__) / "presets"
