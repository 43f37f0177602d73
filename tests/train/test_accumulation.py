"""Batches in pieces: plain accumulation is the mean of small batches, GradCache is the large one."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_batches import KINDS, distance, gradients, tiny_batch, tiny_model

from flava_parts.model import FlavaForPreTraining
from flava_parts.train.accumulation import Piece, Totals, pieces
from flava_parts.train.grad_cache import cached_gradients


@given(rows=st.integers(1, 20), count=st.integers(1, 25))
def test_pieces_are_the_batch(rows: int, count: int) -> None:
    """In order, each row once, sizes that differ by at most one; what has one row for all goes into each."""
    inputs = {"input_ids": torch.arange(rows)[:, None], "position_ids": torch.zeros(1, 3)}
    if rows == 1:
        inputs.pop("position_ids")
    parts = list(pieces(inputs, count))
    sizes = [len(part.inputs["input_ids"]) for part in parts]

    assert min(rows, count) == len(parts)
    assert torch.equal(inputs["input_ids"], torch.cat([part.inputs["input_ids"] for part in parts]))
    assert max(sizes) - min(sizes) <= 1
    assert sum(part.share for part in parts) == pytest.approx(1)
    for part in parts:
        assert torch.equal(inputs["input_ids"][part.rows], part.inputs["input_ids"])
        if rows > 1:
            assert inputs["position_ids"] is part.inputs["position_ids"]


def whole(model: FlavaForPreTraining, batch: dict[str, torch.Tensor], losses: Any = None) -> Any:
    output = model(**batch, losses=losses)
    output.loss.backward()
    return output


def nothing_around(*, last: bool) -> AbstractContextManager[None]:
    """One process has nothing to send."""
    return nullcontext()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [2, 5, 12])
def test_grad_cache_gives_the_gradient_of_the_large_batch(kind: str, count: int) -> None:
    """Within 1e-5, all six losses, however unevenly labels and true pairs are spread over the pieces."""
    model, batch = tiny_model(), tiny_batch(kind)
    output = whole(model, batch)
    expected = gradients(model)
    found = cached_gradients(
        model,
        list(pieces(batch, count)),
        None,
        lambda piece, **asked: model(**piece.inputs, **asked),
        lambda loss: loss,
        nothing_around,
    )

    assert output.losses.keys() == found.losses.keys()
    for name, loss in output.losses.items():
        assert loss.item() == pytest.approx(found.losses[name].item(), rel=1e-5)
    assert output.loss.item() == pytest.approx(found.loss.item(), rel=1e-5)
    assert distance(expected, gradients(model)) < 1e-5


@pytest.mark.parametrize("losses", [["global_contrastive"], ["mmm_text", "itm"]])
def test_grad_cache_takes_the_losses_that_are_asked_for(losses: list[str]) -> None:
    model, batch = tiny_model(), tiny_batch("pairs")
    whole(model, batch, losses)
    expected = gradients(model)
    cached_gradients(
        model,
        list(pieces(batch, 3)),
        losses,
        lambda piece, **asked: model(**piece.inputs, **asked),
        lambda loss: loss * 2,
        nothing_around,
    )

    assert distance({name: 2 * gradient for name, gradient in expected.items()}, gradients(model)) < 1e-5


def test_grad_cache_repeats_the_dropout_of_its_first_pass() -> None:
    """The encoders run twice; a forward that is seeded by its piece gives a gradient of one function."""
    model = tiny_model("text_encoder.dropout=0.5", "image_encoder.dropout=0.5").train()
    batch = tiny_batch("pairs")

    def forward(piece: Piece, **asked: Any) -> Any:
        torch.manual_seed(piece.number)
        return model(**piece.inputs, **asked)

    def loss() -> float:
        parts = list(pieces(batch, 3))
        return cached_gradients(
            model, parts, ["global_contrastive"], forward, lambda loss: loss, nothing_around
        ).loss.item()

    weight = model.image_encoder.position_embedding
    loss()
    gradient = weight.grad.clone()
    step = 0.02 / gradient.square().sum().item()
    with torch.no_grad():
        weight.add_(gradient, alpha=step / 2)
    up = loss()
    with torch.no_grad():
        weight.sub_(gradient, alpha=step)

    assert 0.02 == pytest.approx(up - loss(), rel=0.02)


def test_plain_accumulation_is_the_mean_of_small_batches() -> None:
    """And its contrastive loss is one among few: smaller than that of the large batch."""
    model, batch = tiny_model(), tiny_batch("pairs")
    alone = [model(**part.inputs).losses["global_contrastive"].item() for part in pieces(batch, 3)]
    output = whole(model, batch)
    model.zero_grad()
    totals = Totals()
    for part in pieces(batch, 3):
        of_part = model(**part.inputs)
        (of_part.loss * part.share).backward()
        totals.add(of_part, part.share)

    assert sum(alone) / 3 == pytest.approx(totals.losses["global_contrastive"].item(), rel=1e-5)
    assert totals.losses["global_contrastive"].item() < output.losses["global_contrastive"].item() - 0.5
    assert sum(loss.item() for loss in totals.losses.values()) == pytest.approx(totals.loss.item(), rel=1e-6)
