"""How weights start."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

DRAWS = (nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.normal_)
"""How torch starts the weights of its layers."""


class Blank(TorchFunctionMode):
    """Layers made in here do not draw the weights that torch would give them: `initialize` draws them, right after.

    Drawing both takes most of the time in which a large model is made.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in DRAWS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


@contextmanager
def making_on(device: torch.device | str) -> Generator[None]:
    """Modules made in here have their weights on a device.

    On ``meta``, where there is nothing to draw, none is: torch would import its compiler for it, a second and 130 MB.
    """
    with torch.device(device) as place, Blank() if place.type == "meta" else nullcontext():
        yield


def initialize(module: nn.Module, std: float) -> None:
    """Start the weights below ``module`` from N(0, std), biases and padding from zero.

    Weights are those of linears, convolutions and embeddings, and the module's own tokens and positions. Both
    references start image and fusion tokens at zero, where the first layer norm divides by almost nothing and the
    first gradients are thousands of times the others; BEiT starts them like the rest, and so do we.

    One number from torch's default generator decides them all. Each weight has a generator of its own, so that they can
    be drawn on as many threads as torch has, which changes nothing but the time it takes.
    """
    # A lone number, such as a scale, has its own start.
    weights: list[Tensor] = [weight for weight in module.parameters(recurse=False) if weight.dim() > 1]
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding):
            weights.append(layer.weight)
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
    first = int(torch.randint(2**62, (), device="cpu"))

    def draw(number: int) -> None:
        weight = weights[number].detach()
        weight.normal_(std=std, generator=torch.Generator(weight.device).manual_seed(first + number))

    numbers = [number for number, weight in enumerate(weights) if not weight.is_meta]
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        list(threads.map(draw, numbers))
    for layer in module.modules():
        if isinstance(layer, nn.Embedding) and layer.padding_idx is not None:
            nn.init.zeros_(layer.weight.data[layer.padding_idx])
