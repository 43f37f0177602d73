"""How weights start."""

from __future__ import annotations

from torch import nn


def initialize(module: nn.Module, std: float) -> None:
    """Start every linear, convolution and embedding below ``module`` from N(0, std), biases and padding from zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Embedding):
            nn.init.normal_(layer.weight, std=std)
            if layer.padding_idx is not None:
                nn.init.zeros_(layer.weight.data[layer.padding_idx])
