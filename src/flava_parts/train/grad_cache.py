"""The gradient of a large batch in the memory of a small one, for all losses (Gao et al. 2021, GradCache)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from ..facts import Streams
from ..model import FlavaForPreTraining
from .accumulation import Piece, Totals

Forward = Callable[..., Any]
"""``forward(piece, losses=..., ...)`` runs the model on a piece, each time with the same dropout."""


def cached_gradients(
    model: FlavaForPreTraining,
    parts: Sequence[Piece],
    losses: Collection[str] | None,
    forward: Forward,
    scale: Callable[[Tensor], Tensor],
    apart: Callable[..., AbstractContextManager[Any]],
) -> Totals:
    """Add the gradient of a whole batch to the parameters, while no more than one piece has a graph. The losses.

    A loss that reads nothing longer than summaries (B, D) (contrastive, matching) sees those of the whole batch; one
    that reads tokens (B, N, D) is a mean over labels, and is taken piece by piece, weighted by how many labels of
    the batch the piece has. So the encoders run twice: first without a graph, for the summaries and the counts;
    then, with the gradients of the summaries known, for their own. ``scale`` is what is done to a loss before its
    backward pass, and ``apart(last=...)`` the context of each backward pass. Of several processes each has pieces of
    its own rows, equally many, and the whole batch is that of all.
    """
    summaries: list[dict[str, Tensor]] = []
    counts: list[dict[str, Tensor]] = []
    whole: list[str] = []
    with torch.no_grad():
        for piece in parts:
            output = forward(piece, losses=losses)
            summaries.append({name: stream for name, stream in output.streams.items() if _is_short(name, stream)})
            counts.append(output.counts)
            whole = [name for name in output.losses if model.readings[name].streams <= summaries[-1].keys()]

    streams = {name: torch.cat([part[name] for part in summaries]) for name in summaries[0]}
    leaves = {name: stream.requires_grad_() for name, stream in streams.items() if stream.is_floating_point()}
    by_whole: dict[str, Tensor] = {}
    if whole:
        with apart(last=False):
            by_whole = model.losses_of(streams, whole)
            scale(torch.stack(list(by_whole.values())).sum()).backward()
    reached = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}

    by_piece = [name for name in counts[0] if name not in by_whole]
    shares = [dict[str, Tensor]()] * len(parts)
    if by_piece:
        rows = model.rows_counted(torch.stack([torch.stack([count[name] for name in by_piece]) for count in counts]))
        shares = [dict(zip(by_piece, of_piece, strict=True)) for of_piece in rows / rows.sum(dim=0).clamp(min=1)]
    passes = {model.stream_passes[name] for name in reached}
    found = Totals({name: value.detach() for name, value in by_whole.items()})
    for piece, share in zip(parts, shares, strict=True):
        with apart(last=piece is parts[-1]):
            output = forward(piece, losses=by_piece, passes=passes, output_states=False)
            terms = [scale(output.losses[name] * share[name]) for name in by_piece]
            terms += [(output.streams[name] * gradient[piece.rows]).sum() for name, gradient in reached.items()]
            torch.stack(terms).sum().backward()
        for name in by_piece:
            value = output.losses[name].detach() * share[name]
            found.losses[name] = found.losses.get(name, torch.zeros_like(value)) + value
    found.losses = {name: found.losses[name] for name in counts[0]}
    return found


def _is_short(name: str, stream: Tensor) -> bool:
    """Whether a stream has one entry or vector a row: a summary, or what is said of a pair as a whole."""
    return stream.dim() == (2 if stream.is_floating_point() else 1) and name not in (
        Streams.TEXT_LABELS,
        Streams.IMAGE_LABELS,
    )
