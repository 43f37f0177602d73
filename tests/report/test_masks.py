"""Masks and codes drawn over pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flava_parts.report.masks import draw_masks
from flava_parts.report.sheet import MAX_BYTES


@pytest.mark.parametrize(
    ("count", "size", "grid"),
    [
        (0, (8, 8), (2, 2)),
        (1, (64, 64), (1, 1)),
        (9, (30, 50), (3, 7)),
        (12, (224, 224), (14, 14)),
    ],
)
@pytest.mark.filterwarnings("error")
def test_any_number_of_pictures_of_any_grid(count: int, size: tuple[int, int], grid: tuple[int, int], tmp_path: Path):
    """Also where patches are no whole number of pixels, and where pictures are noise."""
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (count, *size, 3), dtype=np.uint8)
    masks, codes = random.random((count, *grid)) < 0.4, random.integers(0, 8192, (count, *grid))
    draw_masks(pictures, masks, codes, tmp_path / "masks.png", 8192)

    assert (tmp_path / "masks.png").stat().st_size <= MAX_BYTES
    with Image.open(tmp_path / "masks.png") as picture:
        assert "PNG" == picture.format


def test_the_mean_patch_of_a_code_is_taken_over_all_pictures(tmp_path: Path):
    """Eight black pictures are shown in grey, since eight white ones, which are not shown, have the same code."""
    pictures = (
        np.repeat(np.array([0, 255], dtype=np.uint8), 8)[:, None, None, None].repeat(16, 1).repeat(16, 2).repeat(3, 3)
    )
    masks, codes = np.zeros((16, 2, 2), dtype=bool), np.zeros((16, 2, 2), dtype=int)
    draw_masks(pictures, masks, codes, tmp_path / "masks.png", 1)

    with Image.open(tmp_path / "masks.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    column = int(2.1 / (1.6 + 8 * 1.35) * pixels.shape[1])
    places = [int((0.9 + 1.35 * row + 0.3) / (0.95 + 4 * 1.35) * pixels.shape[0]) for row in (0, 1, 3)]

    assert [0, 0, 127] == pixels[places, column].tolist()


@pytest.mark.parametrize("code", [-1, 4])
def test_codes_outside_the_vocabulary(code: int, tmp_path: Path):
    one = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match=f"codes go from {code} to {code}, but the vocabulary has 4"):
        draw_masks(one, np.zeros((1, 1, 1), dtype=bool), np.full((1, 1, 1), code), tmp_path / "masks.png", 4)
