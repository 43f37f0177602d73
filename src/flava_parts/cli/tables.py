"""Plain tables, and numbers that fit into them."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be; those of numbers stand on the right."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    right = [bool(rows) and all(row[column][:1] in ("", *"0123456789-") for row in rows) for column in range(len(head))]
    cells = [
        [
            text.rjust(width) if side else text.ljust(width)
            for text, width, side in zip(line, widths, right, strict=True)
        ]
        for line in lines
    ]
    return "\n".join("  ".join(line).rstrip() for line in cells)


def short(number: float, unit: str = "") -> str:
    """``1234567`` as ``1.23 M``."""
    for factor, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return (
                f"{number / factor:.3g} {letter}{unit}"
                if number / factor < 1000
                else f"{number / factor:,.0f} {letter}{unit}"
            )
    return f"{number:g} {unit}".rstrip()
