"""The contrastive loss in chunks of rows, against all logits at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from losses.largest import Largest
from torch import Tensor

from flava_parts.facts import Streams
from flava_parts.losses.contrastive import GlobalContrastive
from flava_parts.losses.value import LossValue

ROWS, WIDTH = 40, 6


def contrastive(chunk_size: int | None = None) -> GlobalContrastive:
    torch.manual_seed(0)
    return GlobalContrastive(image_width=WIDTH, text_width=WIDTH, projection=WIDTH, init_std=0.5, chunk_size=chunk_size)


def summaries(rows: int = ROWS) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        Streams.IMAGE_SUMMARY: torch.randn(rows, WIDTH, generator=generator),
        Streams.TEXT_SUMMARY: torch.randn(rows, WIDTH, generator=generator),
        Streams.MATCHED: torch.arange(rows) % 3 != 1,
    }


def measured(loss: GlobalContrastive, streams: dict[str, Tensor]) -> tuple[LossValue, dict[str, Tensor]]:
    value = loss(streams)
    value.value.backward()
    return value, {name: weight.grad for name, weight in loss.named_parameters() if weight.grad is not None}


@given(rows=st.integers(1, 9), chunk=st.integers(1, 12))
def test_chunks_of_any_size_equal_all_logits_at_once(rows: int, chunk: int) -> None:
    """Losses and gradients within 1e-6, for chunks that do not divide the batch and for one larger than it."""
    expected, expected_gradients = measured(contrastive(), summaries(rows))
    actual, gradients = measured(contrastive(chunk), summaries(rows))

    assert pytest.approx(expected.value.item(), rel=1e-6) == actual.value.item()
    assert expected.count == actual.count
    assert expected_gradients.keys() == gradients.keys()
    assert "logit_scale" in gradients
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("chunk_size", "elements"), [(None, ROWS * ROWS), (8, 8 * ROWS)])
def test_no_more_logits_exist_than_a_chunk_has(chunk_size: int | None, elements: int) -> None:
    """Neither on the way forward nor on the way back; the whole matrix does where there are no chunks."""
    with Largest() as largest:
        measured(contrastive(chunk_size), summaries())

    assert elements == largest.elements


def test_chunks_give_logits_only_where_asked() -> None:
    loss = contrastive(8)
    expected = contrastive().logits(summaries())

    assert loss(summaries()).logits is None
    for side, logits in zip(expected, loss(summaries(), dense=True).logits, strict=True):
        assert torch.equal(side, logits)
