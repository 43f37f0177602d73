"""The API pages are what the docstrings say now."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"


def generator() -> Any:
    """The script that writes the pages."""
    found = spec_from_file_location("generate_api", DOCS / "generate_api.py")
    assert found is not None
    assert found.loader is not None
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_pages_are_current() -> None:
    """If not: python docs/generate_api.py."""
    written = {path.name: path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.md")}

    assert generator().pages() == written


def test_every_kind_has_a_page_with_its_parts() -> None:
    """And says what its parts state."""
    pages = generator().pages()

    assert "`tokens`" in pages["image_encoder.md"]
    assert "`build(*, grid: Grid)" in pages["image_masker.md"]
    assert "## `flava.block`" in pages["image_masker.md"]
    assert "| `total` | integer > 0 | 75 | Patches to hide in each image. |" in pages["image_masker.md"]
