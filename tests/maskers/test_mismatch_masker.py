"""Mismatched pairs: never an image's own text, always another row's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flava_parts.maskers.mismatch import MismatchMasker


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=60)
@given(batch=st.integers(0, 12), probability=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_labels_say_which_rows_kept_their_text(batch: int, probability: float, seed: int) -> None:
    """Label 1 exactly where a row keeps its own text; texts are rows of the batch; the same seed gives the same."""
    masker = MismatchMasker(probability=probability)
    pairs = masker(batch, seeded(seed))

    assert ((batch,), torch.int64, torch.int64) == (tuple(pairs.texts.shape), pairs.texts.dtype, pairs.labels.dtype)
    assert (pairs.texts == torch.arange(batch)).long().tolist() == pairs.labels.tolist()
    assert set(pairs.texts.tolist()) <= set(range(batch))
    assert pairs.texts.tolist() == masker(batch, seeded(seed)).texts.tolist()


def test_probability_none_and_all() -> None:
    """At 0 all rows match; at 1 no row does; a batch of one always matches."""
    assert [1] * 9 == MismatchMasker(probability=0.0)(9, seeded(0)).labels.tolist()
    assert [0] * 9 == MismatchMasker(probability=1.0)(9, seeded(0)).labels.tolist()
    assert ([0], [1]) == tuple(value.tolist() for value in MismatchMasker(probability=1.0)(1, seeded(0)))


def test_every_other_row_is_equally_likely() -> None:
    """One row in ten is mismatched by default, each with one of the others at random."""
    pairs = MismatchMasker()(200_000, seeded(0))
    assert 0.9 == pytest.approx(pairs.labels.float().mean().item(), abs=0.003)

    always = MismatchMasker(probability=1.0)
    drawn = torch.stack([always(5, seeded(seed)).texts for seed in range(4000)])
    share = torch.stack([(drawn == text).float().mean(0) for text in range(5)])
    assert torch.allclose((1 - torch.eye(5)) / 4, share, atol=0.03)
