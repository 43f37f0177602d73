"""Computing a batch piece by piece, so that it needs the memory of a piece.

The gradient is the mean over the pieces, as if each were a batch of its own. What a loss compares is then what is in
one piece: four pieces of 64 pairs are four contrastive losses among 64, not one among 256. `GradCache` is the way to
the latter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a batch."""

    number: int
    """Which piece it is, from 0."""
    rows: slice
    """Its rows of the batch."""
    share: float
    """How many of the batch's rows these are, as a share."""
    inputs: dict[str, Tensor]
    """The model's inputs of these rows."""


def pieces(inputs: Mapping[str, Tensor], count: int) -> Iterator[Piece]:
    """A batch of B rows as ``count`` pieces whose sizes differ by at most one, or as B pieces if B is less.

    A tensor that has one row for all, such as ``position_ids`` (1, L), goes into every piece as it is.
    """
    rows = max(len(tensor) for tensor in inputs.values())
    count = min(count, rows)
    start = 0
    for number in range(count):
        stop = start + rows // count + (number < rows % count)
        yield Piece(
            number=number,
            rows=slice(start, stop),
            share=(stop - start) / rows,
            inputs={name: tensor[start:stop] if len(tensor) == rows else tensor for name, tensor in inputs.items()},
        )
        start = stop


@dataclass
class Totals:
    """The losses of a batch, added up from those of its pieces."""

    losses: dict[str, Tensor] = field(default_factory=dict)
    """Each loss (), without a graph, the weighted mean over the pieces that have it."""

    def add(self, output: Any, share: float) -> None:
        """One piece's ``losses``, which has that share of the rows."""
        for name, loss in output.losses.items():
            before = self.losses.get(name)
            value = loss.detach() * share
            self.losses[name] = value if before is None else before + value

    @property
    def loss(self) -> Tensor:
        """Their sum ()."""
        return torch.stack(list(self.losses.values())).sum()
