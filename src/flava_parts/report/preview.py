"""Samples as a model is shown them: pictures with what is hidden of them, captions with what is masked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .masks import HIDDEN
from .sheet import FAINT, INK, RED, sheet

COLUMNS = 3
"""Cards beside each other."""
SIDE = 0.95
"""Inches of a picture's longer side."""
HEIGHT, TEXT_HEIGHT = 1.5, 0.75
"""Inches of a card, and of one where no sample has a picture."""
PIXELS = 140
"""Pixels that a picture's longer side is drawn with."""


class Card(NamedTuple):
    """One sample of the sheet."""

    key: str
    pixels: NDArray[np.uint8] | None = None
    """(H, W, 3)."""
    hidden: NDArray[np.bool_] | None = None
    """(rows, columns), true where the image masker hides a patch."""
    caption: str | None = None
    masked: str | None = None
    """The caption as the text masker leaves it."""
    fault: str | None = None
    """Why the sample cannot be used."""


def draw_preview(cards: Sequence[Card], path: Path, *, total: int) -> None:
    """Draw samples, each with its picture, its picture under a mask, and its caption both ways, as a PNG in ``path``.

    total: how many samples the source has.
    """
    rows = max(1, math.ceil(len(cards) / COLUMNS))
    tall = HEIGHT if any(card.pixels is not None for card in cards) else TEXT_HEIGHT
    with sheet(path, width=13, height=0.9 + tall * rows) as drawn:
        faults = sum(card.fault is not None for card in cards)
        drawn.heading("Samples", f"{len(cards)} of {total}" + (f"; {faults} cannot be used" if faults else ""))
        width = (drawn.width - 0.25) / COLUMNS
        for number, card in enumerate(cards):
            row, column = divmod(number, COLUMNS)
            x, y = 0.25 + column * width, 0.85 + row * tall
            text = x
            if card.pixels is not None:
                for place, picture in enumerate(_views(card.pixels, card.hidden)):
                    ratio = SIDE / max(card.pixels.shape[:2])
                    height, across = (side * ratio for side in card.pixels.shape[:2])
                    drawn.picture(x + place * (SIDE + 0.08), y, picture, width=across, height=height)
                    text = x + (place + 1) * (SIDE + 0.08)
            room = x + width - text - 0.15
            drawn.text(text, y + 0.1, card.key, width=room, color=FAINT, size=8)
            if card.fault is not None:
                drawn.text(text, y + 0.3, card.fault, width=room, color=RED, weight="bold")
            lines = [("", card.caption), ("masked: ", card.masked)]
            shown = [mark + line for mark, line in lines if line is not None]
            for place, line in enumerate(shown):
                below = card.pixels is not None
                drawn.text(
                    x if below else text,
                    y + (SIDE + 0.14 if below else 0.3) + 0.19 * place,
                    line,
                    width=width - 0.15 if below else room,
                    color=FAINT if place else INK,
                )


def _views(pixels: NDArray[np.uint8], hidden: NDArray[np.bool_] | None) -> list[NDArray[np.uint8]]:
    """The picture small, and, if there is a mask, the same with its hidden patches covered."""
    height, width = pixels.shape[:2]
    factor = min(1.0, PIXELS / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = np.asarray(Image.fromarray(pixels).resize(size))
    if hidden is None:
        return [small]
    cells = np.asarray(Image.fromarray(hidden).resize(size, Image.Resampling.NEAREST))
    return [small, np.where(cells[..., None], HIDDEN, small).astype(np.uint8)]
