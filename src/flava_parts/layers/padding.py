"""Texts of several lengths without the padding between them, as one row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

WORTH = 7 / 8
"""Of so many tokens at most the present ones are put together: more, and what copying costs is more than it saves."""


@dataclass(frozen=True, slots=True)
class Padding:
    """Where in rows (B, N) the T tokens stand that are no padding: ``places`` (T,), counted through all rows."""

    places: Tensor
    rows: int
    length: int

    @classmethod
    def around(cls, present: Tensor) -> Padding | None:
        """From (B, N), true where a token is present. None where it is not worth it, or not known without waiting for
        a device: on a GPU, to a compiler, in a simulated step."""
        known = type(present) is Tensor and present.device.type == "cpu" and not torch.compiler.is_compiling()
        if not known:
            return None
        places = present.flatten().nonzero()[:, 0]
        return cls(places, *present.shape) if len(places) <= WORTH * present.numel() else None

    def remove(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, D) to the present ones (1, T, D)."""
        return cast(Tensor, _Remove.apply(tokens, self))

    def restore(self, tokens: Tensor) -> Tensor:
        """Tokens (1, T, D) back in their rows (B, N, D), with zeros at padding."""
        return cast(Tensor, _Restore.apply(tokens, self))


class _Remove(torch.autograd.Function):
    """The gradient goes back to its places at once; that of indexing adds one token after the other."""

    @staticmethod
    def forward(tokens: Tensor, padding: Padding) -> Tensor:
        return tokens.flatten(0, 1).index_select(0, padding.places)[None]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _, ctx.padding = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.padding.restore(gradient), None


class _Restore(torch.autograd.Function):
    """The other way round."""

    @staticmethod
    def forward(tokens: Tensor, padding: Padding) -> Tensor:
        rows = tokens.new_zeros(padding.rows * padding.length, tokens.shape[-1])
        return rows.index_copy_(0, padding.places, tokens[0]).unflatten(0, (padding.rows, padding.length))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _, ctx.padding = inputs

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.padding.remove(gradient), None
