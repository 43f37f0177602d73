"""Whether queries, keys and values are faster as one product: ``python -m benchmarks.joined_projections``.

Checkpoints name three matrices, which would be joined in every step. Forward and backward, flava.base's image encoder.
"""

from __future__ import annotations

import statistics

import torch
from torch.nn import functional as F

from .rivals import in_turn

WIDTH, TOKENS = 768, 4 * 197


def main() -> None:
    """Print the median milliseconds of both."""
    states = torch.randn(TOKENS, WIDTH, requires_grad=True)
    weights = [torch.randn(WIDTH, WIDTH, requires_grad=True) for _ in range(3)]
    biases = [torch.randn(WIDTH, requires_grad=True) for _ in range(3)]

    def three() -> None:
        outputs = [F.linear(states, weight, bias).sum() for weight, bias in zip(weights, biases, strict=True)]
        torch.stack(outputs).sum().backward()

    def joined() -> None:
        F.linear(states, torch.cat(weights), torch.cat(biases)).sum().backward()

    times = in_turn(joined, three, rounds=21, warm_up=3)
    for name, seconds in zip(("joined", "three"), times, strict=True):
        print(f"{name}: {statistics.median(seconds) * 1000:.1f} ms")


if __name__ == "__main__":
    main()
