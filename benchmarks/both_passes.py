"""What it saves to run an encoder's clean and masked pass as one: ``python -m benchmarks.both_passes``.

Forward and backward of flava.base's encoders on four images or texts, of the clean pass its summary alone.
"""

from __future__ import annotations

import statistics
from typing import Any

import torch
from torch import nn

import flava_parts
from flava_parts.train.blocks import forget

from .peers import images, texts
from .rivals import in_turn

SUMMARY = torch.zeros(1, dtype=torch.long)


def seconds(
    encoder: nn.Module, clean: tuple[Any, ...], masked: tuple[Any, ...], **together: Any
) -> tuple[float, float]:
    """The median seconds of both passes together, and one after the other."""

    def backward(*outputs: Any) -> None:
        encoder.zero_grad(set_to_none=True)
        torch.stack([output.last_hidden_state.square().mean() for output in outputs]).sum().backward()

    def one() -> None:
        both = encoder(*masked, **together, clean_read=SUMMARY)
        backward(both.clean, both)

    def two() -> None:
        backward(encoder(*clean, read=SUMMARY), encoder(*masked))

    first, second = in_turn(one, two, rounds=7, warm_up=1)
    return statistics.median(first), statistics.median(second)


def main() -> None:
    """Print the seconds of both ways, and their ratio."""
    model = flava_parts.compose(flava_parts.load_spec("flava.base")).train()
    forget(model)
    batch = images(4)
    pixels = batch["pixel_values"]
    measured = {
        "4 images": seconds(model.image_encoder, (pixels,), (pixels, batch["bool_masked_pos"]), with_clean=True)
    }
    for length in (77, 27):
        words = texts([length] * 4)
        ids, keep = words["input_ids"], words["attention_mask"]
        masked = words["input_ids_masked"], keep
        measured[f"4 texts of {length}"] = seconds(model.text_encoder, (ids, keep), masked, clean_ids=ids)
    for name, (one, two) in measured.items():
        print(f"{name}: together {one:.2f} s, apart {two:.2f} s, {one / two:.2f}")


if __name__ == "__main__":
    main()
