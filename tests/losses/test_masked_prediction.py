"""The masked losses in chunks: the same numbers, and no more logits at once than a chunk has."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from losses.largest import Largest
from torch import Tensor

from flava_parts.facts import IGNORE, Streams
from flava_parts.losses.masked_prediction import MaskedPrediction

B, N, D, V = 3, 7, 8, 64


def prediction(chunk_size: int | None) -> MaskedPrediction:
    torch.manual_seed(0)
    return MaskedPrediction(
        states=Streams.MASKED_WORDS,
        labels=Streams.TEXT_LABELS,
        width=D,
        vocab_size=V,
        chunk_size=chunk_size,
        init_std=0.5,
    )


def streams(labelled: int, *, seed: int = 0) -> dict[str, Tensor]:
    """States, of which the first so many in reading order have a label."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(V, (B * N,), generator=generator)
    labels[labelled:] = IGNORE
    return {
        Streams.MASKED_WORDS: torch.randn(B, N, D, generator=generator, requires_grad=True),
        Streams.TEXT_LABELS: labels.view(B, N),
    }


def learnt(loss: MaskedPrediction, given: dict[str, Tensor]) -> list[Tensor]:
    """Value and count, and the gradients of states and head."""
    found = loss(given)
    found.value.backward()
    assert all(weight.grad is not None for weight in loss.parameters())
    return [found.value, found.count, given[Streams.MASKED_WORDS].grad, *(weight.grad for weight in loss.parameters())]


@settings(deadline=None, max_examples=20)
@given(chunk_size=st.integers(1, B * N + 1), labelled=st.integers(0, B * N), seed=st.integers(0, 99))
def test_chunks_change_nothing(chunk_size: int, labelled: int, seed: int) -> None:
    """Whatever their size, whether it divides the number of labels or not, and without any label."""
    expected = learnt(prediction(None), streams(labelled, seed=seed))
    for whole, chunked in zip(expected, learnt(prediction(chunk_size), streams(labelled, seed=seed)), strict=True):
        torch.testing.assert_close(chunked, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("chunk_size", "rows"), [(None, 20), (4, 4)])
def test_no_more_logits_exist_than_a_chunk_has(chunk_size: int | None, rows: int) -> None:
    """The largest tensor is of the logits, or, where they are few, of the decoder's weights."""
    with Largest() as largest:
        learnt(prediction(chunk_size), streams(20))

    assert max(rows, D) * V == largest.elements


def test_chunks_give_logits_only_where_asked() -> None:
    given, loss = streams(20), prediction(4)

    assert loss(given).logits is None
    assert torch.equal(prediction(None)(given, dense=True).logits, loss(given, dense=True).logits)
    assert torch.equal(prediction(None).logits(given), loss.logits(given))


@pytest.mark.parametrize("chunk_size", [None, 4096])
def test_halves_do_not_overflow(chunk_size: int | None) -> None:
    """The sum over 20,000 labels is above 65,504, the largest half; their mean is not."""
    loss = prediction(chunk_size)
    states = torch.randn(1000, 20, D, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(V, (1000, 20), generator=torch.Generator().manual_seed(1))
    expected = loss({Streams.MASKED_WORDS: states, Streams.TEXT_LABELS: labels})
    found = loss.half()({Streams.MASKED_WORDS: states.half(), Streams.TEXT_LABELS: labels})

    assert expected.value * 20_000 > torch.finfo(torch.float16).max
    assert torch.isclose(expected.value, found.value.float(), rtol=1e-2)
