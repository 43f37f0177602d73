"""Heads: the shapes of what they say, and the two losses against torch's own formulas."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torchmultimodal.modules.layers.mlp import MLP

from flava_parts.heads.classifier import LinearClassifier, MLPClassifier
from flava_parts.heads.specs import HeadSpec, LinearClassifierSpec, MLPClassifierSpec

HEADS = (LinearClassifierSpec, MLPClassifierSpec)


def one_each(rows: int, classes: int) -> torch.Tensor:
    """Labels (B, V) of which each row has one."""
    return F.one_hot(torch.arange(rows) % classes, classes).bool()


@given(
    kind=st.sampled_from(HEADS),
    rows=st.integers(1, 5),
    width=st.integers(1, 9),
    classes=st.integers(1, 7),
    multi_label=st.booleans(),
)
def test_a_head_answers_for_each_class(
    kind: type[HeadSpec], rows: int, width: int, classes: int, multi_label: bool
) -> None:
    """(B, D) to (B, V); probabilities lie between 0 and 1, and add up to 1 where a sample has one class."""
    head = kind(multi_label=multi_label).build(width=width, classes=classes)
    logits = head(torch.randn(rows, width))
    probabilities = head.probabilities(logits)

    assert (rows, classes) == logits.shape == probabilities.shape
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    if not multi_label:
        torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(rows))


def test_the_loss_of_one_class_is_cross_entropy() -> None:
    """Written out: minus the logarithm of the softmax at the right class, on average."""
    logits, labels = torch.randn(5, 3, dtype=torch.float64), one_each(5, 3)
    head = LinearClassifier(width=2, classes=3)
    expected = -(logits.exp() / logits.exp().sum(dim=1, keepdim=True)).log()[labels].mean()

    torch.testing.assert_close(expected, head.loss(logits, labels))
    torch.testing.assert_close(F.cross_entropy(logits, torch.arange(5) % 3), head.loss(logits, labels))


def test_the_loss_of_many_classes_is_binary_cross_entropy() -> None:
    """Written out: each class on its own, on average over all; rows without a class count too."""
    logits = torch.randn(4, 3, dtype=torch.float64)
    labels = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 1, 0], [1, 1, 1]]).bool()
    head = LinearClassifier(width=2, classes=3, multi_label=True)
    probability = 1 / (1 + (-logits).exp())
    expected = -torch.where(labels, probability.log(), (1 - probability).log()).mean()

    torch.testing.assert_close(expected, head.loss(logits, labels))
    torch.testing.assert_close(F.binary_cross_entropy_with_logits(logits, labels.double()), head.loss(logits, labels))


@pytest.mark.parametrize("kind", HEADS)
def test_losses_reach_every_weight(kind: type[HeadSpec]) -> None:
    for multi_label in (False, True):
        head = kind(multi_label=multi_label).build(width=4, classes=3)
        head.loss(head(torch.randn(6, 4)), one_each(6, 3)).backward()

        assert all(weight.grad is not None and weight.grad.any() for weight in head.parameters())


def test_the_mlp_is_torchmultimodals() -> None:
    """With the same weights, the same logits: linear, ReLU, linear; 1,536 channels between unless said otherwise."""
    theirs = MLP(in_dim=6, out_dim=3, hidden_dims=1536, dropout=0.0).double()
    ours = MLPClassifier(width=6, classes=3).double()
    names = {"model.0": "dense", "model.2": "classifier"}
    ours.load_state_dict(
        {
            f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value
            for name, value in theirs.state_dict().items()
        }
    )
    summary = torch.randn(4, 6, dtype=torch.float64)

    assert torch.equal(theirs(summary), ours(summary))


@pytest.mark.parametrize(
    ("reads", "needs", "slots"),
    [
        ("image", {"image"}, ("image_encoder",)),
        ("text", {"text"}, ("text_encoder",)),
        ("fused", {"image", "text"}, ("image_encoder", "text_encoder", "fusion")),
    ],
)
def test_what_a_head_reads_decides_what_it_needs(reads, needs: set[str], slots: tuple[str, ...]) -> None:
    spec = MLPClassifierSpec(reads=reads)

    assert needs == spec.needs
    assert slots == spec.slots


def test_dropout_is_off_in_evaluation() -> None:
    head = LinearClassifier(width=8, classes=3, dropout=0.5)
    summary = torch.randn(4, 8)

    assert not torch.equal(head(summary), head(summary))
    assert torch.equal(head.eval()(summary), head(summary))
