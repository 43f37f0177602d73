"""Predicting what was masked: the loss of MIM, MLM and both halves of MMM."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..facts import IGNORE, Stream
from ..layers.activation import activation as activation_of
from ..layers.initialize import Blank, initialize
from .value import LossValue


class PredictionHead(nn.Module):
    """BERT's prediction head: dense, activation, layer norm, decoder; (..., D) to (..., V)."""

    def __init__(self, *, width: int, vocab_size: int, activation: str, norm_eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.activation = activation_of(activation)
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.decoder = nn.Linear(width, vocab_size)

    def forward(self, states: Tensor) -> Tensor:
        return self.decoder(self.norm(self.activation(self.dense(states))))


class MaskedPrediction(nn.Module):
    """Mean cross-entropy over the positions that have a label (FLAVA section 3.2)."""

    def __init__(
        self,
        *,
        states: Stream,
        labels: Stream,
        width: int,
        vocab_size: int,
        weight: float = 1.0,
        activation: str = "gelu",
        norm_eps: float = 1e-12,
        chunk_size: int | None = None,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.chunk_size = chunk_size
        self.states = states
        self.labels = labels
        self.weight = weight
        with Blank():
            self.head = PredictionHead(width=width, vocab_size=vocab_size, activation=activation, norm_eps=norm_eps)
        initialize(self, init_std)

    def forward(self, streams: Mapping[Stream, Tensor], *, dense: bool = False) -> LossValue:
        """States (B, N, D) and labels (B, N), `IGNORE` where there is none, to the loss.

        The head runs on the labelled positions only, logits (n, V), unless ``dense`` asks for all of them,
        (B, N, V). While torch compiles, it always runs on all, since the number of labels is not known then. With a
        ``chunk_size`` there are no logits unless ``dense`` asks.
        """
        states, labels = streams[self.states], streams[self.labels]
        if not dense and not torch.compiler.is_compiling():
            rows = labels != IGNORE
            states, labels = states[rows], labels[rows]
        count = (labels != IGNORE).sum()
        logits = None
        if self.chunk_size is None or dense:
            logits = self.head(states)
            total = _total(logits, labels)
        else:
            total = self._in_chunks(states.flatten(0, -2), labels.flatten(), self.chunk_size)
        return LossValue(value=self.weight * total / count.clamp(min=1), count=count, logits=logits, targets=labels)

    def _in_chunks(self, states: Tensor, labels: Tensor, size: int) -> Tensor:
        """The sum () of the losses of rows (n, D), so many at a time, whose logits are made again for the gradient."""
        chunks = zip(states.split(size), labels.split(size), strict=True)  # of no rows one, as empty
        totals = [checkpoint(self._of, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks]
        return torch.stack(totals).sum()

    def _of(self, states: Tensor, labels: Tensor) -> Tensor:
        return _total(self.head(states), labels)

    def logits(self, streams: Mapping[Stream, Tensor]) -> Tensor:
        """States (B, N, D) to logits (B, N, V), where there is no label to compare with."""
        return self.head(streams[self.states])


def _total(logits: Tensor, labels: Tensor) -> Tensor:
    """The sum () of the cross-entropies of logits (..., V) where there is a label (...).

    Of halves in float32: over a few thousand labels it is more than the largest half, 65,504.
    """
    if logits.dtype == torch.float16:
        logits = logits.float()
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORE, reduction="sum")
