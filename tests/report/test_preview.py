"""Samples on a sheet: pictures of any shape, captions of any length, masks, and samples that cannot be used."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flava_parts.report.preview import Card, _views, draw_preview
from flava_parts.report.sheet import MAX_BYTES


@pytest.mark.filterwarnings("error")
def test_any_sample_can_be_drawn(tmp_path: Path) -> None:
    """Wide, tall, tiny; without picture, without caption; hostile texts; none at all."""
    random = np.random.default_rng(0)
    sizes = [(1, 1), (20, 900), (900, 20), (300, 400)]
    cards = [
        Card(
            f"$x_{number}$",
            random.integers(0, 256, (*size, 3), dtype=np.uint8),
            random.random((3, 5)) < 0.5,
            "a\nb" * 99,
        )
        for number, size in enumerate(sizes)
    ]
    cards += [Card("text", caption="<script>", masked="[MASK]"), Card("k" * 900, fault="truncated"), Card("")]
    for name, some in (("all", cards), ("texts", cards[4:]), ("none", [])):
        draw_preview(some, tmp_path / f"{name}.png", total=10)
        with Image.open(tmp_path / f"{name}.png") as sheet:
            assert "PNG" == sheet.format
        assert (tmp_path / f"{name}.png").stat().st_size <= MAX_BYTES


def test_hidden_patches_are_covered_where_the_mask_has_them() -> None:
    """And nothing else is."""
    pixels = np.full((40, 80, 3), 200, dtype=np.uint8)
    hidden = np.array([[True, False, False, False], [False, False, False, True]])
    seen, masked = _views(pixels, hidden)
    covered = (masked != seen).any(axis=2)

    assert np.array_equal(pixels, seen)
    assert np.array_equal(hidden.repeat(20, axis=0).repeat(20, axis=1), covered)
    assert 1 == len(_views(pixels, None))
