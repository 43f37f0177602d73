"""What an encoder returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ..facts import Stream


@dataclass(frozen=True, slots=True)
class EncoderOutput:
    """The states of a sequence of N tokens.

    ``pre_norm`` (B, N, D) are the states before the final layer norm, which the fusion reads; ``last_hidden_state``
    (B, N, D) those after it, which the losses read; ``pooler_output`` (B, D) if the encoder has a pooler;
    ``hidden_states`` (depth + 1 of (B, N, D)) and ``attentions`` (depth of (B, heads, N, N)) if they were asked for;
    ``streams`` what else the part's spec says that it provides, for losses that read it; ``clean`` what the clean pass
    gave, where that ran together with the masked one.
    """

    pre_norm: Tensor
    last_hidden_state: Tensor
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    streams: Mapping[Stream, Tensor] | None = None
    clean: EncoderOutput | None = None
