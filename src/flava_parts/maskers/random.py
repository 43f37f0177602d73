"""The random masker: hides patches independently of where they lie (as in MAE, He et al. 2021, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..facts import Grid


class RandomMasker:
    """``masker(batch, generator)`` -> (B, P) bool on the CPU, true at exactly `total` patches of each image.

    Raises ValueError if `total` is more than the grid has.
    """

    def __init__(self, *, grid: Grid, total: int = 75) -> None:
        if total > grid.size:
            raise ValueError(f"total: {total} patches to hide, but a grid of {grid} has {grid.size}")
        self.grid = grid
        self.total = total

    def __call__(self, batch: int, generator: torch.Generator) -> Tensor:
        """Draw ``batch`` masks (B, P) from a CPU ``generator``."""
        lot = torch.rand(batch, self.grid.size, generator=generator, device="cpu")
        return torch.zeros_like(lot, dtype=torch.bool).scatter_(1, lot.topk(self.total, dim=1).indices, True)
