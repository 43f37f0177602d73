"""The grid of retrieved captions: right is green, wrong is red, captions are only text."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from flava_parts.report.retrieval import draw_retrieval
from flava_parts.report.sheet import GREEN, MAX_BYTES, RED

HOSTILE = [
    "$",
    "$\\frac{1}{0}$ {x}_^",
    "",
    " \n\t",
    "word " * 100_000,
    "W" * 3000,
    "日本語 🐈 \x00\x1b[31m \ud800",
    "שלום العربية",
]


def drawn(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def has(pixels: NDArray[np.uint8], colour: str) -> bool:
    return bool((pixels == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(-1).any())


def grey(count: int, height: int = 8, width: int = 8) -> NDArray[np.uint8]:
    return np.full((count, height, width, 3), 128, dtype=np.uint8)


@pytest.mark.parametrize(
    ("ranked", "green", "red"),
    [([[0, 1], [1, 0]], True, True), ([[0], [1]], True, False), ([[1], [0]], False, True), ([[2], [2]], True, True)],
)
def test_colours_say_what_is_right(ranked: list[list[int]], green: bool, red: bool, tmp_path: Path):
    """A caption is right if it is the picture's own, or reads the same (caption 2 reads as caption 0)."""
    draw_retrieval(grey(2), ["a cat", "a dog", "a cat"], np.array(ranked), tmp_path / "grid.png")

    pixels = drawn(tmp_path / "grid.png")
    assert (green, red) == (has(pixels, GREEN), has(pixels, RED))


@pytest.mark.filterwarnings("error")
def test_hostile_captions_are_text_that_stays_in_its_place(tmp_path: Path):
    """Nothing is taken for a formula, lacks in the font, or runs into the next column."""
    count = len(HOSTILE)
    draw_retrieval(grey(3), [HOSTILE[4]] * 3, np.zeros((3, 1), dtype=int), tmp_path / "long.png")
    draw_retrieval(grey(count), HOSTILE, np.arange(count)[:, None] - np.arange(3), tmp_path / "grid.png")

    pixels = drawn(tmp_path / "long.png")
    scale, row = pixels.shape[1] / 13, pixels[int(pixels.shape[0] * 0.45) :]
    for gap in (4.3, 8.55, 12.8):
        assert (row[:, int(gap * scale) : int((gap + 0.15) * scale)] == 255).all()


@pytest.mark.parametrize("count", [0, 1, 25])
def test_any_number_of_pictures_of_any_size(count: int, tmp_path: Path):
    """Noise, which no PNG makes small, stays below the limit as well."""
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (count, 96, 130, 3), dtype=np.uint8)
    ranked = random.integers(0, 60, (count, 5))
    draw_retrieval(pictures, [str(i) for i in range(60)], ranked, tmp_path / "grid.png")

    assert (tmp_path / "grid.png").stat().st_size <= MAX_BYTES
