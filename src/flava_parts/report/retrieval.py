"""Held-out pictures with the captions that were retrieved for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .sheet import GREEN, RED, sheet

COLUMNS, CARDS = 3, 24
"""Cards beside each other, and in all."""
SHOWN = 3
"""Captions shown for each picture."""
EMPTY = "(empty)"
"""What stands for a caption without text."""


def draw_retrieval(
    pictures: NDArray[np.uint8], captions: Sequence[str], ranked: NDArray[np.integer], path: Path
) -> None:
    """Draw the first pictures, each with its three nearest captions, and write a PNG to ``path``.

    pictures: (N, H, W, 3). captions: picture i's own is caption i; there may be more than pictures.
    ranked: (M, k) with M >= N, indices into the captions, the nearest first; an equal caption counts as right.
    Right captions are green and ticked, wrong ones red and crossed; below them stands the caption that was looked for.
    """
    shown = min(SHOWN, ranked.shape[1])
    cards = min(CARDS, len(pictures))
    rows = max(1, math.ceil(cards / COLUMNS))
    right = np.array([[captions[int(j)] == captions[i] for j in ranked[i, :shown]] for i in range(cards)], dtype=bool)
    right = right.reshape(cards, shown)
    with sheet(path, width=13, height=0.95 + 1.1 * rows) as drawn:
        remark = f"{cards} of {len(captions)} pictures: the caption is the first for {right[:, :1].any(1).sum()}"
        drawn.heading(
            "Captions retrieved for held-out pictures",
            f"{remark}, among the first {shown} for {right.any(1).sum()}" if shown > 1 else remark,
        )
        for index in range(cards):
            row, column = divmod(index, COLUMNS)
            x, y = 0.25 + column * (drawn.width - 0.25) / COLUMNS, 0.9 + 1.1 * row
            drawn.picture(x, y, pictures[index], width=0.95, height=0.95)
            width = drawn.width / COLUMNS - 1.4
            for place in range(shown):
                color, mark, weight = (GREEN, "✓", "bold") if right[index, place] else (RED, "✗", "normal")
                line, caption = y + 0.12 + 0.225 * place, captions[int(ranked[index, place])]
                drawn.text(x + 1.06, line, mark, color=color, weight="bold")
                drawn.text(x + 1.26, line, caption or EMPTY, width=width, color=color, weight=weight)
            if not right[index].any():
                drawn.text(x + 1.06, y + 0.83, "=")
                drawn.text(x + 1.26, y + 0.83, captions[index] or EMPTY, width=width)
