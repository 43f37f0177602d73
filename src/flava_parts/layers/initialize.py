"""How weights start."""

from __future__ import annotations

from torch import nn


def initialize(module: nn.Module, std: float) -> None:
    """Start the weights below ``module`` from N(0, std), biases and padding from zero.

    Weights are those of linears, convolutions and embeddings, and the module's own tokens and positions. Both
    references start image and fusion tokens at zero, where the first layer norm divides by almost nothing and the
    first gradients are thousands of times the others; BEiT starts them like the rest, and so do we.
    """
    for parameter in module.parameters(recurse=False):
        if parameter.dim() > 1:  # a lone number, such as a scale, has its own start
            nn.init.normal_(parameter, std=std)
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Embedding):
            nn.init.normal_(layer.weight, std=std)
            if layer.padding_idx is not None:
                nn.init.zeros_(layer.weight.data[layer.padding_idx])
