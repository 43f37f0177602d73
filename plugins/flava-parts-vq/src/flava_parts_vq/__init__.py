"""Trainable codebooks for flava_parts: the plugin."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

from flava_parts import hookimpl

if TYPE_CHECKING:
    from flava_parts import PartSpec


@hookimpl
def flava_parts_specs() -> list[type[PartSpec]]:
    """The codebooks."""
    from .specs import FSQSpec, ResidualVQSpec, VQSpec  # help asks for the verb alone, and does not wait for these

    return [FSQSpec, ResidualVQSpec, VQSpec]


@hookimpl
def flava_parts_presets() -> Traversable:
    """The emoji run with each."""
    return files(__name__) / "presets"
