"""The registry: a frozen value that finds parts, near names and places."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from flava_parts.encoders.specs import ViTSpec
from flava_parts.plugins import load_registry
from flava_parts.registry import nearest

REGISTRY = load_registry(entry_points=False)


def test_get() -> None:
    """A name is found, of any kind or of the right one only."""
    assert ViTSpec is REGISTRY.get("flava.vit") is REGISTRY.get("flava.vit", kind="image_encoder")
    assert REGISTRY.get("flava.vit", kind="codebook") is None
    assert REGISTRY.get("flava.vti") is None


def test_choices_and_nearest() -> None:
    """Choices are sorted; a name that is like none has no nearest."""
    assert ("flava.dvae", "flava.kmeans") == REGISTRY.choices("codebook")
    assert "flava.kmeans" == REGISTRY.nearest("flava.kmean", "codebook")
    assert REGISTRY.nearest("pixels.colour", "codebook") is None


def test_nearest_wants_likeness() -> None:
    """One word in common is not enough."""
    assert "width" == nearest("widht", ("width", "depth"))
    assert nearest("patch_size", ("image_size",)) is None


def test_find() -> None:
    """A name leads to the line of its class."""
    place = REGISTRY.find("flava.vit")

    assert place is not None
    file, _, line = place.rpartition(":")
    assert "class ViTSpec" in Path(file).read_text(encoding="utf-8").splitlines()[int(line) - 1]
    assert REGISTRY.find("flava.vti") is None


def test_every_part_can_be_found() -> None:
    """No part is registered without a place."""
    assert [] == [name for name in REGISTRY.entries if REGISTRY.find(name) is None]


def test_frozen() -> None:
    """Nothing can be added once it is loaded."""
    with pytest.raises(FrozenInstanceError):
        REGISTRY.entries = {}  # type: ignore[misc]
    with pytest.raises(TypeError):
        REGISTRY.entries["a.b"] = REGISTRY.entries["flava.vit"]  # type: ignore[index]


def test_every_name_is_written_once() -> None:
    """`grep` finds where a part is declared: its type is assigned at one place in the code."""
    package = Path(__file__).parents[1] / "src" / "flava_parts"
    code = "".join(path.read_text(encoding="utf-8") for path in package.rglob("specs.py"))

    assert dict.fromkeys(REGISTRY.entries, 1) == {
        name: code.count(f'type: Literal["{name}"] = "{name}"') for name in REGISTRY.entries
    }
