"""Shorter types for products of matrices; blocks that are recomputed and compiled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_batches import KINDS, distance, gradients, tiny_batch, tiny_model
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.nn import functional as F

from flava_parts.train.blocks import blocks, compile_blocks, freeze, recompute
from flava_parts.train.precision import Precision, fastest, keep_exact, product_seconds
from flava_parts.train.ranks import OneProcess

CPU = torch.device("cpu")
SMALL_SCALE = {**GradScaler("cpu").state_dict(), "scale": 256.0}
"""What a scaler comes to that begins at 65536, which is too large for these losses."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("choice", ["bf16", "fp16"])
def test_a_shorter_type_is_close_and_what_is_delicate_stays_float32(
    kind: str, choice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Norms, losses and the codebook's labels are float32; linear layers of blocks are not; gradients are float32."""
    model, batch, precision = tiny_model(), tiny_batch(kind), Precision(choice, CPU)
    precision.restore({"choice": choice, "scaler": SMALL_SCALE if choice == "fp16" else {}})
    exact = model(**batch)
    exact.loss.backward()
    expected = gradients(model)
    keep_exact(model)
    seen: dict[str, set[torch.dtype]] = {"norm": set(), "block": set(), "cross_entropy": set()}
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_hook(lambda _module, _inputs, output: seen["norm"].add(output.dtype))
    for block in blocks(model):
        block.mlp.up.register_forward_hook(lambda _module, _inputs, output: seen["block"].add(output.dtype))
    cross_entropy = F.cross_entropy

    def watched(*arguments: Any, **named: Any) -> torch.Tensor:
        loss = cross_entropy(*arguments, **named)
        seen["cross_entropy"].add(loss.dtype)
        return loss

    monkeypatch.setattr(F, "cross_entropy", watched)
    with precision.autocast():
        output = model(**batch)
    precision.scale(output.loss).backward()
    precision.unscale(torch.optim.SGD(model.parameters()))

    assert {"norm": {torch.float32}, "block": {precision.dtype}, "cross_entropy": {torch.float32}} == seen
    assert all(loss.dtype == torch.float32 for loss in output.losses.values())
    for name, loss in exact.losses.items():
        assert loss.item() == pytest.approx(output.losses[name].item(), rel=2e-2)
    found = gradients(model)
    assert all(gradient.dtype == torch.float32 for gradient in found.values())
    flat = [torch.cat([gradient.flatten() for gradient in side.values()]) for side in (expected, found)]
    assert F.cosine_similarity(*flat, dim=0) > 0.99


def test_cosines_do_not_lose_digits_in_bf16() -> None:
    """The contrastive loss works on float32, projections included; without that it would be visibly off."""
    model, batch = tiny_model(), tiny_batch("pairs")
    streams = model(**batch, losses=["global_contrastive"]).streams
    loss = model.losses["global_contrastive"]
    exact = loss(streams).value
    with Precision("bf16", CPU).autocast():
        rough = loss(streams).value
    keep_exact(model)
    with Precision("bf16", CPU).autocast():
        kept = loss(streams).value

    assert torch.equal(exact, kept)
    assert not torch.equal(exact, rough)


def test_an_fp16_gradient_that_overflows_is_left_out_and_the_scale_halved() -> None:
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    precision = Precision("fp16", CPU)
    precision.scale(weight * 3e38).backward()
    precision.unscale(optimizer)

    assert precision.may_overflow
    assert not precision.step(optimizer)
    assert 1.0 == weight.item()
    assert 32768.0 == precision.facts()["scaler"]["scale"]

    again = Precision()
    again.restore(precision.facts())
    weight.grad = None
    again.scale(weight * 2).backward()
    again.unscale(optimizer)

    assert precision.facts() == again.facts()
    assert again.step(optimizer)
    assert weight.item() == pytest.approx(0.8)


def test_auto_is_what_was_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The faster of the two on this machine, whichever that is."""
    took = {torch.bfloat16: 1.0, torch.float32: 2.0}
    monkeypatch.setattr("flava_parts.train.precision.product_seconds", lambda dtype, device: took[dtype])
    assert "bf16" == fastest(CPU, OneProcess())

    took[torch.bfloat16] = 3.0
    assert "fp32" == fastest(CPU, OneProcess())


def test_a_product_takes_time() -> None:
    """More for larger matrices."""
    assert 0 < product_seconds(torch.float32, CPU, side=16) < product_seconds(torch.float32, CPU, side=512)


@pytest.mark.parametrize("kind", KINDS)
def test_recomputed_blocks_give_the_same_gradient(kind: str) -> None:
    """To the last bit, dropout included; and less is kept (of so small a model, heads keep most)."""
    kept: dict[bool, int] = {}
    found: dict[bool, dict[str, torch.Tensor]] = {}
    for again in (False, True):
        model = tiny_model("text_encoder.dropout=0.1", "image_encoder.dropout=0.1").train()
        if again:
            recompute(model)
        size = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal size
            size += tensor.numel()
            return tensor

        torch.manual_seed(5)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = model(**tiny_batch(kind)).loss
        kept[again] = size
        loss.backward()
        found[again] = gradients(model)

    assert found[False].keys() == found[True].keys()
    assert all(torch.equal(found[False][name], found[True][name]) for name in found[False])
    assert kept[True] < 0.95 * kept[False]


def test_compiled_blocks_are_close() -> None:
    """Within 1e-4, under the names that they had; recomputed as well."""
    model, batch = tiny_model("image_encoder.depth=1", "text_encoder.depth=1", "fusion.depth=1"), tiny_batch("pairs")
    output = model(**batch)
    output.loss.backward()
    expected, names = gradients(model), list(model.state_dict())
    recompute(model)
    compile_blocks(model)
    compiled = model(**batch)
    compiled.loss.backward()

    assert names == list(model.state_dict())
    assert output.loss.item() == pytest.approx(compiled.loss.item(), rel=1e-5)
    assert distance(expected, gradients(model)) < 1e-4


def test_a_frozen_part_has_no_gradient_and_no_dropout_until_its_step() -> None:
    model = tiny_model().train()
    freeze(model, {"image_encoder": 3}, 2)

    assert not any(weight.requires_grad for weight in model.image_encoder.parameters())
    assert not model.image_encoder.blocks[0].training
    assert model.text_encoder.blocks[0].training

    freeze(model, {"image_encoder": 3}, 3)

    assert all(weight.requires_grad for weight in model.image_encoder.parameters())
    assert model.image_encoder.blocks[0].training
