# pyright: reportUnknownMemberType=false
# (the stubs of matplotlib leave the types of keyword arguments open)
"""The losses of a run, as curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .sheet import BLUE, RED, Sheet, plain, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

COLUMNS = 3
"""Curves beside each other."""
WINDOW = 0.05
"""Share of a curve's points that the smooth line averages over, on each side."""
POINTS = 2000
"""So many points of a curve are drawn at most."""
LOG_FROM = 8.0
"""A curve whose smooth values span this factor is drawn on a logarithmic axis."""


def draw_curves(records: Iterable[Mapping[str, float | int | str | None]], path: Path) -> None:
    """Draw the total loss and each loss of a run's records over its steps, raw and smooth, and write a PNG to ``path``.

    ``loss/<name>`` is a loss, ``loss`` their total: drawn for each ``stream``, as streams have losses of their own, and
    not for steps of a single loss, which is its own total. Values that are not finite, or None, are marked at
    the foot of their curve. Records without a loss (evaluations) are passed over.
    """
    curves: dict[str, list[tuple[float, float]]] = {}
    totals: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        losses = [key for key in record if key.startswith("loss/")]
        for key in losses:
            curves.setdefault(key.removeprefix("loss/"), []).append(_point(record, key))
        if "loss" in record and len(losses) != 1:
            totals.setdefault(str(record.get("stream")), []).append(_point(record, "loss"))
    named = {f"total of {stream}" if len(totals) > 1 else "total": points for stream, points in totals.items()}
    panels = [*named.items(), *curves.items()]
    rows = max(1, math.ceil(len(panels) / COLUMNS))
    with sheet(path, width=12, height=0.9 + 2.6 * rows) as drawn:
        last = max((int(points[-1][0]) for _, points in panels), default=0)
        drawn.heading("Losses", f"{last} steps; points are single steps, the line is their moving mean")
        if not panels:
            drawn.text(0.25, 1.5, "No step was recorded.")
        for index, (name, points) in enumerate(panels):
            steps, values = np.array(points).T
            _draw(drawn, index, name, steps, values, last)


def _draw(drawn: Sheet, index: int, name: str, steps: Floats, values: Floats, last: int) -> None:
    row, column = divmod(index, COLUMNS)
    width = drawn.width / COLUMNS
    axes = drawn.axes(column * width + 0.55, 1.2 + 2.6 * row, width - 0.8, 1.9)
    finite = np.isfinite(values)
    axes.set_title(plain(name)[:36], loc="left", fontsize=10, fontweight="bold")
    axes.set_xlim(0, max(last, 1))
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#eef1f4", linewidth=0.8)
    axes.set_axisbelow(True)
    if not finite.all():
        foot: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "color": RED, "clip_on": False}
        axes.plot(steps[~finite], np.full((~finite).sum(), 0.03), "x", markersize=4, **foot)
        axes.text(0, 0.09, f" {(~finite).sum()} not finite", fontsize=8, **foot)
    steps, values = steps[finite], values[finite]
    if not len(values):
        return
    smooth = moving_mean(values, round(len(values) * WINDOW))
    axes.set_title(f"{smooth[-1]:.3g}", loc="right", fontsize=10, fontweight="bold", color=BLUE)
    some = np.unique(np.linspace(0, len(values) - 1, POINTS).round().astype(int))
    axes.plot(steps[some], values[some], ".", color=BLUE, alpha=0.22, markersize=3.5, markeredgewidth=0)
    axes.plot(steps[some], smooth[some], color=BLUE, linewidth=1.8)
    axes.plot(steps[-1:], smooth[-1:], "o", color=BLUE, markersize=4, clip_on=False)
    _scale(axes, values, smooth)


def _scale(axes: Axes, values: Floats, smooth: Floats) -> None:
    """An axis that shows the smooth line and nearly all points, logarithmic where the line spans much."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = min(smooth.min(), np.quantile(values, 0.01)), max(smooth.max(), np.quantile(values, 0.99))
    if low > 0 and smooth.max() / smooth.min() >= LOG_FROM:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.3, high * 1.3)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        margin = 0.08 * (high - low) or abs(high) * 0.1 or 1.0
        axes.set_ylim(low - margin, high + margin)
    axes.yaxis.set_major_formatter(FuncFormatter(_tick))


def moving_mean(values: Floats, width: int) -> Floats:
    """The means of each value (N,) and up to ``width`` values on both sides of it.

    Near the start the sides are equally long, so that the first point is the first value; at the end they are not, so
    that the last point is a mean of the last ``width + 1`` values.
    """
    at = np.arange(len(values))
    first, last = np.maximum(at - width, 0), np.minimum(at + np.minimum(at, width), len(values) - 1)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return (sums[last + 1] - sums[first]) / (last + 1 - first)


def _point(record: Mapping[str, float | int | str | None], key: str) -> tuple[float, float]:
    """The step of a record and one of its values; not a number if it is none."""
    step, value = record["step"], record[key]
    assert isinstance(step, (int, float))
    return step, float(value) if isinstance(value, (int, float)) else math.nan


def _tick(value: float, _: int | None) -> str:
    return f"{value:g}"
