"""Weights start from a normal distribution that one number decides, on however many threads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flava_parts.encoders.text import TextTransformer
from flava_parts.encoders.vision import VisionTransformer
from flava_parts.layers.initialize import Blank, initialize


def text() -> TextTransformer:
    return TextTransformer(vocab_size=3000, length=16, width=64, depth=3, heads=2, init_std=0.05)


def test_the_seed_decides_and_the_threads_do_not() -> None:
    """Same seed, same weights, on one thread or several; another seed, others."""
    before = torch.get_num_threads()
    made = []
    try:
        for threads, seed in ((1, 0), (3, 0), (1, 1)):
            torch.set_num_threads(threads)
            torch.manual_seed(seed)
            made.append(text().state_dict())
    finally:
        torch.set_num_threads(before)

    assert all(torch.equal(value, made[1][name]) for name, value in made[0].items())
    assert not torch.equal(made[0]["word_embedding.weight"], made[2]["word_embedding.weight"])


def test_every_weight_is_drawn_from_its_distribution() -> None:
    """Mean 0 and the deviation asked for; biases and padding at zero; norms at one; no two matrices alike."""
    torch.manual_seed(0)
    encoder = text()
    matrices = {name: value for name, value in encoder.named_parameters() if value.dim() > 1}
    for name, value in matrices.items():
        count = value.numel()
        assert abs(value.mean()) < 5 * 0.05 / count**0.5, name
        if count > 1000:
            assert 0.05 == pytest.approx(value.std().item(), rel=0.1), name
    queries = [block.attention.query.weight for block in encoder.blocks]
    assert not torch.equal(queries[0], queries[1])
    assert not encoder.word_embedding.weight[0].any()
    assert not encoder.blocks[0].mlp.up.bias.any()
    assert (encoder.norm.weight == 1).all()


def test_nothing_is_drawn_on_the_meta_device_and_the_default_generator_moves_alike() -> None:
    """A model without memory leaves the generator where a real one does."""
    after = []
    for device in ("cpu", "meta"):
        torch.manual_seed(0)
        with torch.device(device):
            VisionTransformer(image_size=16, patch_size=8, width=8, depth=1, heads=1)
        after.append(torch.rand((), device="cpu"))

    assert after[0] == after[1]


def test_only_what_is_drawn_again_is_left_blank() -> None:
    """Norms keep their ones; outside, torch draws as always."""
    with Blank():
        layer, norm = nn.Linear(8, 8), nn.LayerNorm(8)
    assert (norm.weight == 1).all()
    initialize(layer, 0.5)
    assert 0.1 < layer.weight.std() < 1
    torch.manual_seed(0)
    expected = torch.empty(8, 8)
    nn.init.kaiming_uniform_(expected, a=5**0.5)
    torch.manual_seed(0)
    assert torch.equal(expected, nn.Linear(8, 8).weight)
