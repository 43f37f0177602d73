"""The non-linearities that FLAVA's configurations name."""

from __future__ import annotations

from torch import nn


def activation(name: str) -> nn.Module:
    """The module of a name: ``gelu``, ``relu``, ``selu`` or ``gelu_new`` (tanh approximation).

    Raises ValueError for any other name.
    """
    match name:
        case "gelu":
            return nn.GELU()
        case "relu":
            return nn.ReLU()
        case "selu":
            return nn.SELU()
        case "gelu_new":
            return nn.GELU(approximate="tanh")
        case _:
            raise ValueError(f"no activation named {name!r}; there are gelu, relu, selu and gelu_new")
