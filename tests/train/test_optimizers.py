"""What decays, and how the learning rate changes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_batches import tiny_batch, tiny_model

from flava_parts.compose import compose
from flava_parts.loading import load_spec
from flava_parts.train.layer_decay import layer_factors, scale_rates
from flava_parts.train.optimizers import HIDDEN, adamw, muon
from flava_parts.train.schedules import Constant, Piecewise, WarmupCosine, WarmupLinear, WarmupStableDecay


def test_only_matrices_decay():
    """Norms, biases, embeddings and lone tokens are in the group without decay; frozen codebooks in none."""
    model = compose(load_spec("flava.tiny"), device="meta")
    decayed, plain = (
        {name for name, p in model.named_parameters() if any(p is q for q in group["params"])}
        for group in adamw(model=model, weight_decay=0.1).param_groups
    )

    assert set(dict(model.named_parameters())) == decayed | plain
    assert not decayed & plain
    assert "image_encoder.blocks.0.attention.query.weight" in decayed
    assert "losses.mlm.head.decoder.weight" in decayed
    for name in (
        "image_encoder.cls_token",
        "image_encoder.position_embedding",
        "text_encoder.word_embedding.weight",
        "image_encoder.norm.weight",
        "image_encoder.blocks.0.mlp.up.bias",
        "losses.global_contrastive.logit_scale",
    ):
        assert name in plain


@given(warmup=st.integers(0, 50), more=st.integers(1, 100), final=st.floats(0, 1))
def test_warmup_rises_to_one_and_the_cosine_falls_to_final(warmup, more, final):
    schedule = WarmupCosine(steps=warmup + more, warmup=warmup, final=final)
    factors = [schedule(step) for step in range(warmup + more + 1)]

    assert factors[:warmup] == sorted(factors[:warmup])
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
    assert 1 == pytest.approx(factors[warmup])
    assert final == pytest.approx(factors[-1])
    assert all(math.isfinite(factor) and 0 <= factor <= 1 + 1e-12 for factor in factors)


@given(warmup=st.integers(0, 50), more=st.integers(1, 100), final=st.floats(0, 1))
def test_every_schedule_warms_up_alike_and_ends_at_final(warmup: int, more: int, final: float) -> None:
    """Straight up over the warm-up; at 1 after it; at `final` at the end, and a straight line between for `linear`."""
    steps = warmup + more
    linear = WarmupLinear(steps=steps, warmup=warmup, final=final)
    stable = WarmupStableDecay(steps=steps, warmup=warmup, decay=more // 2, final=final)
    constant = Constant(steps=steps, warmup=warmup)

    for step in range(warmup):
        assert (step + 1) / warmup == pytest.approx(linear(step))
        assert linear(step) == pytest.approx(stable(step)) == pytest.approx(constant(step))
    assert 1 == pytest.approx(linear(warmup)) == constant(warmup) == constant(steps)
    assert (1 + final) / 2 == pytest.approx(linear(warmup + more / 2))  # pyright: ignore[reportArgumentType]
    assert final == pytest.approx(linear(steps))
    assert (final if more > 1 else 1.0) == pytest.approx(stable(steps))
    assert all(1 == stable(step) for step in range(warmup, steps - more // 2))


def test_a_longer_stable_run_begins_as_the_shorter_one() -> None:
    """Until the shorter one's way down."""
    short, long = (WarmupStableDecay(steps=steps, warmup=10, decay=20) for steps in (100, 200))

    assert [short(step) for step in range(80)] == [long(step) for step in range(80)]
    assert short(90) < long(90)


def test_piecewise_holds_or_joins() -> None:
    points = ((10, 1.0), (20, 3.0))

    assert [1.0, 1.0, 1.0, 3.0, 3.0] == [Piecewise(steps=99, points=points)(step) for step in (0, 10, 15, 20, 98)]
    assert [1.0, 1.0, 2.0, 3.0, 3.0] == [
        Piecewise(steps=99, points=points, smooth=True)(step) for step in (0, 10, 15, 20, 98)
    ]


def test_muon_has_the_hidden_matrices_and_adamw_the_rest() -> None:
    """Linear layers of encoders and fusion; no embedding, no head of a loss, no norm; every parameter once."""
    model = compose(load_spec("flava.tiny"), device="meta")
    optimizer = muon(model=model)
    names = {id(weight): name for name, weight in model.named_parameters()}
    hidden = {names[id(p)] for group in optimizer.param_groups if group[HIDDEN] for p in group["params"]}
    rest = [names[id(p)] for group in optimizer.param_groups if not group[HIDDEN] for p in group["params"]]

    assert {
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.startswith("losses.")
    } == {name.removesuffix(".weight") for name in hidden}
    assert set(names.values()) == hidden | set(rest)
    assert len(names) == len(hidden) + len(rest)
    assert "image_encoder.patch_embedding.projection.weight" in rest
    assert "losses.mlm.head.decoder.weight" in rest


def test_muon_updates_as_its_two_halves_do() -> None:
    """Its step is that of torch's Muon on the hidden matrices and of torch's AdamW on the others, before and after its
    state went through a state dict; and the loss falls."""
    ours, theirs, batch = tiny_model(), tiny_model(), tiny_batch("pairs")
    optimizer = muon(model=ours, learning_rate=1e-3)
    scale_rates(optimizer, ours, layer_factors(ours, 1.0))
    names = {id(weight): name for name, weight in ours.named_parameters()}
    twin = dict(theirs.named_parameters())
    groups = [
        (group[HIDDEN], group["weight_decay"], [twin[names[id(p)]] for p in group["params"]])
        for group in optimizer.param_groups
    ]
    halves = [
        torch.optim.Muon(weights, lr=1e-3, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
        if hidden
        else torch.optim.AdamW(weights, lr=1e-3, weight_decay=decay, fused=True)
        for hidden, decay, weights in groups
        if weights
    ]
    losses = []
    for step in range(4):
        for model, parts in ((ours, [optimizer]), (theirs, halves)):
            model.zero_grad()
            loss = model(**batch).loss
            loss.backward()
            for part in parts:
                part.step()
        losses.append(loss.item())
        if step == 1:
            kept = optimizer.state_dict()
            optimizer = muon(model=ours, learning_rate=1e-3)
            scale_rates(optimizer, ours, layer_factors(ours, 1.0))
            optimizer.load_state_dict(kept)

    assert all(torch.equal(weight, twin[name]) for name, weight in ours.named_parameters())
    assert losses == sorted(losses, reverse=True)


def test_rates_of_parts_multiply_layer_decay() -> None:
    """In pretraining every encoder counts from the losses that read it."""
    model = compose(load_spec("flava.tiny"), device="meta")
    factors = layer_factors(model, 0.5, {"image_encoder": 0.1, "losses": 2.0})

    assert 0.1 * 0.5 == pytest.approx(factors["image_encoder.blocks.1.mlp.up.weight"])
    assert 0.1 * 0.5**3 == pytest.approx(factors["image_encoder.cls_token"])
    assert 0.5 == pytest.approx(factors["text_encoder.blocks.1.mlp.up.weight"])
    assert 2.0 == pytest.approx(factors["losses.itm.classifier.weight"])
