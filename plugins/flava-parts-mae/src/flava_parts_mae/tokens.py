"""Choosing tokens of a sequence, others in each row."""

from __future__ import annotations

from torch import Tensor


def take(values: Tensor, places: Tensor) -> Tensor:
    """Values (B, N, D) or (B, N) at places (B, n): (B, n, D) or (B, n)."""
    if values.dim() == 2:
        return values.gather(1, places)
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[2]))
