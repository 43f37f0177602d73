"""The forward pass makes its tensors on the model's device, whichever it is; torch's fake tensors need no GPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

import flava_parts
from flava_parts.narrowing import Labelled
from flava_parts.train.blocks import forget


def _labelled(has_label: Tensor) -> Labelled:
    """Three positions of each row: what fake tensors hold is not known."""
    positions = torch.zeros(len(has_label), 3, dtype=torch.long, device=has_label.device)
    return Labelled(positions, positions == 0, torch.arange(len(positions), device=positions.device))


@pytest.mark.parametrize("use", ["pairs", "pairs with the codebook", "images", "texts"])
def test_losses_make_no_tensor_elsewhere(use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation of tensors of two devices raises; so would one on a tensor that was made on the CPU."""
    monkeypatch.setattr(Labelled, "where", _labelled)
    spec = flava_parts.load_spec("flava.tiny")
    cpu = flava_parts.compose(spec)
    tensors = {
        "pixel_values": torch.randn(4, 3, 32, 32),
        "mim_labels": torch.randint(64, (4, 16)),
        "input_ids": torch.randint(1000, 30000, (4, 16)),
        "attention_mask": torch.ones(4, 16, dtype=torch.long),
        "itm_labels": torch.tensor([1, 0, 1, 1]),
    }
    pairs = tuple(tensors)
    tensors["codebook_pixel_values"] = torch.rand(4, 3, 16, 16)
    wanted = {
        "pairs": pairs,
        "pairs with the codebook": tuple(tensors.keys() - {"mim_labels"}),
        "images": ("pixel_values", "mim_labels"),
        "texts": ("input_ids", "attention_mask"),
    }
    batch = cpu.mask({name: tensors[name] for name in wanted[use]}, torch.Generator().manual_seed(0))
    blank = flava_parts.compose(spec, device="meta").train()
    forget(blank)
    with FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv()):
        model = blank.to_empty(device="cuda")
        if model.codebook is not None:
            model.codebook.ready = True
        moved = {name: torch.empty_like(tensor, device="cuda") for name, tensor in batch.items()}
        loss = model(**moved, output_states=False).loss

    assert {loss.device.type, *(value.device.type for value in model.parameters())} == {"cuda"}


def test_a_tensor_of_another_device_is_noticed() -> None:
    """What the test above relies on."""
    with FakeTensorMode(), pytest.raises(RuntimeError, match="device"):
        torch.ones(2, device="cuda") + torch.ones(2)
