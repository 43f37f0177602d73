"""Means over the rows of all ranks, though each rank has its own rows only."""

from __future__ import annotations

import torch.distributed as dist
from torch import Tensor

from .gather import rank_and_size


def global_counts(counts: Tensor) -> Tensor:
    """How many rows all ranks have, of as many kinds as ``counts`` (…) int64 tells of this one's."""
    totals = counts.clone()
    dist.all_reduce(totals)
    return totals


def global_shares(counts: Tensor) -> Tensor:
    """How many rows each of N means is of, (N,) int64, to what it has to be multiplied by, (N,) float64.

    The factor is ``ranks x count / count of all ranks``. Data-parallel training takes the mean over ranks of whatever
    each gives: of means so multiplied, that is the mean over all rows, as if one process had them.
    """
    _, size = rank_and_size()
    return size * counts.double() / global_counts(counts).clamp(min=1)
