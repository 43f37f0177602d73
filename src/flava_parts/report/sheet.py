# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# (the stubs of matplotlib leave the types of keyword arguments open)
"""A sheet of paper to draw on, written as a PNG file: what all pictures of a report have in common."""

from __future__ import annotations

import io
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, FAINT, LINE = "#1f2933", "#7b8794", "#d9dee4"
"""Text, what is said beside it, and rules."""
BLUE, GREEN, RED = "#2166ac", "#1b7837", "#b2182b"
"""Measurements, what is right, what is wrong: told apart by most colour-blind eyes."""

MAX_BYTES = 500_000
"""No PNG file is larger."""

_RESOLUTIONS = (130, 100, 75, 55, 40, 30, 20, 10)
"""Dots an inch, the first that keeps a file below `MAX_BYTES` is taken."""

_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.usetex": False,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.facecolor": "white",
    "axes.labelcolor": FAINT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "xtick.color": LINE,
    "xtick.labelcolor": FAINT,
    "ytick.color": LINE,
    "ytick.labelcolor": FAINT,
}


class Sheet:
    """A white sheet, ``width`` x ``height`` inches; places are inches from its upper left corner."""

    def __init__(self, *, width: float, height: float) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(width, height), facecolor="white")
        self._renderer = FigureCanvasAgg(self.figure).get_renderer()
        self.width, self.height = width, height
        self.page = self.axes(0, 0, width, height)
        self.page.axis("off")
        self.page.set_xlim(0, width)
        self.page.set_ylim(height, 0)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """New axes in a part of the sheet."""
        place = (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(place)

    def heading(self, title: str, remark: str) -> None:
        """The sheet's title, with a remark under it."""
        self.text(0.25, 0.32, title, size=13, weight="bold")
        self.text(0.25, 0.58, remark, color=FAINT)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        width: float | None = None,
        color: str = INK,
        size: float = 9,
        weight: str = "normal",
        align: str = "left",
    ) -> None:
        """One line of text around height ``y``, taken literally; what does not fit ``width`` inches is cut off."""
        line = plain(text)
        if width is not None:
            line = self._cut(line, width, size, weight)
        self.page.text(x, y, line, color=color, fontsize=size, fontweight=weight, ha=align, va="center")

    def picture(self, x: float, y: float, pixels: NDArray[np.uint8], *, width: float, height: float) -> None:
        """Pixels (H, W, 3) in a thin frame."""
        from matplotlib.patches import Rectangle

        self.page.imshow(pixels, extent=(x, x + width, y + height, y), aspect="auto", interpolation="antialiased")
        self.page.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=LINE, linewidth=0.8))

    def png(self, resolution: int) -> bytes:
        """The sheet as a PNG file of so many dots an inch."""
        file = io.BytesIO()
        self.figure.savefig(file, format="png", dpi=resolution, metadata={"Software": None})
        return file.getvalue()

    def _cut(self, line: str, width: float, size: float, weight: str) -> str:
        """The line, or as much of its beginning as fits, and an ellipsis."""
        if self._measure(line, size, weight) <= width:
            return line
        shortest, longest = 0, len(line)
        while shortest < longest:
            middle = (shortest + longest + 1) // 2
            if self._measure(line[:middle].rstrip() + "…", size, weight) <= width:
                shortest = middle
            else:
                longest = middle - 1
        return line[:shortest].rstrip() + "…"

    def _measure(self, line: str, size: float, weight: str) -> float:
        """The width of a line, inches."""
        from matplotlib.font_manager import FontProperties

        font = FontProperties(size=size, weight=weight)
        return self._renderer.get_text_width_height_descent(line, font, ismath=False)[0] / self.figure.dpi


@contextmanager
def sheet(path: Path, *, width: float, height: float) -> Generator[Sheet]:
    """A sheet to draw on, written to ``path`` when the block ends: at most `MAX_BYTES`, the same bytes every time."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # the user's own style would move what is laid out here
        matplotlib.rcParams.update(_STYLE)
        drawn = Sheet(width=width, height=height)
        yield drawn
        Path(path).write_bytes(next(file for file in map(drawn.png, _RESOLUTIONS) if len(file) <= MAX_BYTES))


LONGEST = 500
"""Characters of a text that are looked at."""


def plain(text: str) -> str:
    """A text on one line, in characters that the font has; what it lacks becomes U+FFFD."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    fonts = [get_font(findfont(FontProperties(family="DejaVu Sans", weight=weight))) for weight in ("normal", "bold")]
    line = re.sub(r"\s+", " ", text[:LONGEST]).strip()
    return "".join(c if all(font.get_char_index(ord(c)) for font in fonts) else "\ufffd" for c in line)
