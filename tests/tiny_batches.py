"""The tiny model, and a masked batch of each kind for it."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from flava_parts.compose import compose
from flava_parts.loading import load_spec
from flava_parts.model import FlavaForPreTraining

KINDS = {
    "pairs": ("input_ids", "attention_mask", "pixel_values", "codebook_pixel_values"),
    "images": ("pixel_values", "codebook_pixel_values"),
    "texts": ("input_ids", "attention_mask"),
}


def tiny_model(*changes: str, seed: int = 0) -> FlavaForPreTraining:
    """`flava.tiny` with a fitted codebook and random weights, those of the seed."""
    torch.manual_seed(seed)
    model = compose(load_spec("flava.tiny", set=list(changes)))
    model.codebook.fit(torch.rand(80, 3, 16, 16), torch.Generator().manual_seed(0))
    return model


@cache
def tiny_batch(kind: str, rows: int = 12, words: int = 9) -> dict[str, Tensor]:
    """A masked batch; its texts have between 4 and ``words`` tokens."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(104, 30000, (rows, words), generator=generator)
    ids[:, 0] = 101
    lengths = torch.randint(4, words + 1, (rows, 1), generator=generator)
    batch = {
        "input_ids": ids,
        "attention_mask": (torch.arange(words) < lengths).long(),
        "pixel_values": torch.randn(rows, 3, 32, 32, generator=generator),
        "codebook_pixel_values": torch.rand(rows, 3, 16, 16, generator=generator),
    }
    return tiny_model().mask({name: batch[name] for name in KINDS[kind]}, generator)


def gradients(model: FlavaForPreTraining) -> dict[str, Tensor]:
    """The gradients by name, which are then forgotten."""
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def distance(expected: dict[str, Tensor], actual: dict[str, Tensor]) -> float:
    """The largest relative distance of a parameter's gradient.

    Attention's key biases are left out: softmax does not see them, and their gradients are rounding.
    """
    assert expected.keys() == actual.keys()
    return max(
        ((expected[name] - actual[name]).norm() / expected[name].norm().clamp(min=1e-12)).item()
        for name in expected
        if not name.endswith("key.bias")
    )
