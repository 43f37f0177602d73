"""What a model is asked for: pictures, what it sees of them, and the codes of their patches."""

from __future__ import annotations

import colorsys
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .sheet import FAINT, sheet

SHOWN = 8
"""Pictures beside each other."""
SIDE = 160
"""Pixels of a picture's longer side, about."""
HIDDEN = np.array([123, 135, 148])
"""What covers a hidden patch."""
TINT = 0.72
"""How much of a code's colour covers the picture."""


def draw_masks(
    pictures: NDArray[np.uint8],
    masks: NDArray[np.bool_],
    codes: NDArray[np.integer],
    path: Path,
    vocab_size: int,
) -> None:
    """Draw the first eight pictures four times, and write a PNG to ``path``.

    As they are (N, H, W, 3); with the hidden patches (N, rows, columns) covered; with each patch tinted in the colour
    of its code (N, rows, columns); and with each patch replaced by the mean of all patches, in all N pictures, that
    have the same code: the more pictures there are, the nearer it is to what the code stands for.
    Raises ValueError if a code is not in 0 .. vocab_size - 1.
    """
    if codes.size and not 0 <= codes.min() <= codes.max() < vocab_size:
        raise ValueError(f"codes go from {codes.min()} to {codes.max()}, but the vocabulary has {vocab_size}")
    count = min(SHOWN, len(pictures))
    rows, columns = masks.shape[1:]
    patch = math.ceil(SIDE / max(rows, columns))
    size = (columns * patch, rows * patch)
    scaled = np.array([np.asarray(Image.fromarray(picture).resize(size)) for picture in pictures], dtype=np.uint8)
    scaled = scaled.reshape(len(pictures), rows * patch, columns * patch, 3)
    hidden = f"{masks[:count].mean():.0%} is hidden" if count else ""
    used = f"{len(np.unique(codes[:count]))} of {vocab_size} occur"
    kinds = (
        ("picture", "", scaled[:count]),
        ("what is seen", hidden, np.where(_cells(masks[:count], patch), HIDDEN, scaled[:count])),
        ("codes", used, _tinted(scaled[:count], codes[:count], patch)),
        ("mean patch", "of each code", _averaged(scaled, codes, patch, count)),
    )
    width, height = 1.25 * columns / max(rows, columns), 1.25 * rows / max(rows, columns)
    with sheet(path, width=1.6 + max(count, 4) * (width + 0.1), height=0.95 + len(kinds) * (height + 0.1)) as drawn:
        drawn.heading("Masks and codes", f"{rows} x {columns} patches; equal colours are equal codes")
        for row, (name, remark, images) in enumerate(kinds):
            y = 0.9 + row * (height + 0.1)
            drawn.text(0.25, y + height / 2 - 0.09, name, weight="bold")
            drawn.text(0.25, y + height / 2 + 0.09, remark, color=FAINT, size=8)
            for column, image in enumerate(images):
                drawn.picture(1.5 + column * (width + 0.1), y, image.astype(np.uint8), width=width, height=height)


def _tinted(pictures: NDArray[np.uint8], codes: NDArray[np.integer], patch: int) -> NDArray[np.float64]:
    """Pictures under the colours of their codes: one colour a code, neighbouring codes far apart."""
    ids, where = np.unique(codes, return_inverse=True)
    colours = [_colour(int(code)) for code in ids]
    cells = 255 * np.array(colours).reshape(-1, 3)[where.reshape(codes.shape)]
    return (1 - TINT) * pictures + TINT * _cells(cells, patch)


def _colour(code: int) -> tuple[float, float, float]:
    """Red, green and blue, 0 to 1; steps of the golden ratio spread the hues of any number of codes."""
    return colorsys.hls_to_rgb(code * 0.618034 % 1, (0.42, 0.56, 0.7)[code % 3], (0.85, 0.6)[code // 3 % 2])


def _averaged(pictures: NDArray[np.uint8], codes: NDArray[np.integer], patch: int, count: int) -> NDArray[np.float64]:
    """The first pictures (count, H, W, 3), each patch the mean of all patches of the same code in all pictures."""
    rows, columns = codes.shape[1:]
    patches = pictures.reshape(-1, rows, patch, columns, patch, 3).transpose(0, 1, 3, 2, 4, 5)
    ids, where, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    means = np.zeros((len(ids), patch, patch, 3))
    np.add.at(means, where.reshape(codes.shape), patches)
    means /= sizes[:, None, None, None]
    return means[where.reshape(codes.shape)[:count]].transpose(0, 1, 3, 2, 4, 5).reshape(pictures[:count].shape)


def _cells(values: NDArray[Any], patch: int) -> NDArray[Any]:
    """Values of patches (N, rows, columns) or (N, rows, columns, 3) as large as the pictures, with colours last."""
    pixels = values.repeat(patch, axis=1).repeat(patch, axis=2)
    return pixels if values.ndim == 4 else pixels[..., None]
