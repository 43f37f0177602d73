"""Accuracy and mean average precision, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score

from flava_parts.errors import InputError
from flava_parts.evaluate.classification import accuracy, average_precision, mean_average_precision

# Few different scores, so that there are ties.
SCORES = st.integers(-3, 3).map(lambda score: score / 2)


@given(st.lists(st.tuples(SCORES, st.booleans()), min_size=1, max_size=12).filter(lambda rows: any(r for _, r in rows)))
def test_average_precision_is_scikit_learns(rows: list[tuple[float, bool]]) -> None:
    """Whatever is equal counts as found together."""
    scores, right = (np.array(column) for column in zip(*rows, strict=True))
    expected = average_precision_score(right, scores)

    assert expected == pytest.approx(average_precision(torch.from_numpy(scores), torch.from_numpy(right)), abs=1e-12)


@given(st.integers(1, 8), st.integers(1, 5), st.integers(0, 1000))
def test_the_mean_is_over_classes_that_occur(rows: int, classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(-3, 3, (rows, classes), generator=generator).double()
    labels = torch.rand(rows, classes, generator=generator) < 0.4
    occur = labels.any(dim=0)
    if not occur.any():
        with pytest.raises(InputError, match="no sample belongs to any class"):
            mean_average_precision(scores, labels)
        return
    expected = average_precision_score(labels[:, occur].numpy(), scores[:, occur].numpy(), average="macro")

    assert expected == pytest.approx(mean_average_precision(scores, labels), abs=1e-12)


@given(st.integers(1, 9), st.integers(2, 5), st.integers(0, 1000))
def test_accuracy_is_scikit_learns(rows: int, classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(rows, classes, generator=generator)
    right = torch.randint(classes, (rows,), generator=generator)
    labels = torch.nn.functional.one_hot(right, classes).bool()

    assert accuracy_score(right, scores.argmax(dim=1)) == pytest.approx(accuracy(scores, labels))


def test_the_best_and_the_worst() -> None:
    """Everything in front is 1; one right row behind n others is 1 / (n + 1); all equal is the share of right rows."""
    right = torch.tensor([True, False, False, False])

    assert 1.0 == average_precision(torch.tensor([4.0, 3.0, 2.0, 1.0]), right)
    assert 0.25 == average_precision(torch.tensor([1.0, 2.0, 3.0, 4.0]), right)
    assert 0.25 == average_precision(torch.zeros(4), right)
