"""Collecting the rows of all ranks, with the gradients that a caller wants."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def rank_and_size() -> tuple[int, int]:
    """This process's rank and how many there are; (0, 1) outside torch.distributed."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


class _Gather(torch.autograd.Function):
    """All ranks' rows, in rank order; backward sums what every rank says about mine."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.count = len(rows)
        return _all(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient[dist.get_rank() * ctx.count :][: ctx.count]


def _all(rows: Tensor) -> Tensor:
    rows = rows.contiguous()
    gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, rows)
    return torch.cat(gathered)


def gather(rows: Tensor, backprop: str) -> Tensor:
    """Rows (b, D) of this rank to those of all ranks (b x ranks, D).

    ``backprop`` says where gradients go: ``global`` to every rank's rows; ``local`` to this rank's alone; ``none``
    nowhere. Raises ValueError on every rank if they do not all bring equally many rows.
    """
    rank, size = rank_and_size()
    if size == 1:
        return rows.detach() if backprop == "none" else rows
    counts = _all(torch.tensor([len(rows)], device=rows.device)).tolist()
    if len(set(counts)) > 1:
        raise ValueError(f"the contrastive loss needs the same batch size on every rank; they have {counts}")
    if backprop == "global":
        gathered = _Gather.apply(rows)
        assert isinstance(gathered, Tensor)
        return gathered
    everyone = _all(rows.detach())
    if backprop == "none":
        return everyone
    before, after = everyone[: rank * len(rows)], everyone[(rank + 1) * len(rows) :]
    return torch.cat([before, rows, after])
