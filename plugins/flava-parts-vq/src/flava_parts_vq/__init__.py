"""Trainable codebooks for flava_parts: the plugin."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from flava_parts import PartSpec, hookimpl

from .specs import FSQSpec, ResidualVQSpec, VQSpec


@hookimpl
def flava_parts_specs() -> list[type[PartSpec]]:
    """The codebooks."""
    return [FSQSpec, ResidualVQSpec, VQSpec]


@hookimpl
def flava_parts_presets() -> Traversable:
    """The emoji run with each."""
    return files(__name__) / "presets"


@hookimpl
def flava_parts_verbs() -> Mapping[str, Any]:
    """``flava-parts codebook fit``."""
    from .cli import codebook

    return {"codebook": codebook}
