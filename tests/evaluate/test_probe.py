"""The linear probe: scikit-learn's logistic regression, with a strength that is chosen as the papers choose it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from evaluate.toys import Coloured, Toy, processor
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from flava_parts.data.sources.specs import EmojiSpec, GlossesSpec
from flava_parts.errors import InputError
from flava_parts.evaluate import probe
from flava_parts.evaluate.logistic import Logistic, fit_logistic
from flava_parts.evaluate.probe import LinearProbe, choose_c
from flava_parts.evaluate.specs import ProbeSpec


def clouds(seed: int, *, rows: int, width: int, classes: int, spread: float = 2.0) -> tuple[Tensor, Tensor]:
    """Features of overlapping classes, each of which occurs."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % classes
    centres = torch.randn(classes, width, generator=generator, dtype=torch.float64)
    return centres[labels] + spread * torch.randn(rows, width, generator=generator, dtype=torch.float64), labels


@settings(max_examples=12)
@given(seed=st.integers(0, 99), classes=st.integers(3, 5), width=st.integers(1, 9), exponent=st.integers(-6, 3))
@example(seed=0, classes=4, width=9, exponent=3)  # once ended 2.8e-4 too early
def test_the_fit_is_scikit_learns(seed: int, classes: int, width: int, exponent: int):
    """The probabilities of both minima are the same, from a fit that is all penalty to one that has next to none."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    features, labels = clouds(seed, rows=60, width=width, classes=classes)
    theirs = linear_model.LogisticRegression(C=10.0**exponent, tol=1e-9, max_iter=10_000)
    theirs.fit(features.numpy(), labels.numpy())
    ours = fit_logistic(features, labels, classes=classes, c=10.0**exponent)

    np.testing.assert_allclose(
        theirs.predict_proba(features.numpy()), ours.logits(features).softmax(dim=1).numpy(), atol=2e-4
    )


@given(seed=st.integers(0, 99), c=st.sampled_from([0.01, 1.0, 100.0]))
def test_the_fit_is_a_minimum(seed: int, c: float):
    """The gradient of c x summed cross-entropy + half the squared weights, written out, is zero."""
    features, labels = clouds(seed, rows=40, width=4, classes=3)
    fitted = fit_logistic(features, labels, classes=3, c=c)
    errors = fitted.logits(features).softmax(dim=1) - torch.nn.functional.one_hot(labels, 3)

    assert (errors.sum(dim=0) / 40).abs().max() < 1e-4
    assert ((errors.T @ features + fitted.weight / c) / 40).abs().max() < 1e-4


def test_a_class_without_a_row_is_never_said():
    """Its weights are there, since labels keep their numbers."""
    features, labels = clouds(1, rows=30, width=3, classes=2)
    fitted = fit_logistic(features, labels * 2, classes=3, c=1.0)

    assert (3, 3) == fitted.weight.shape
    assert 1 not in fitted.logits(features).argmax(dim=1).tolist()


def test_the_fit_needs_no_gradients_from_around_it():
    """Inside inference mode, with what was made there, as outside; single precision stays that."""
    features, labels = clouds(2, rows=30, width=3, classes=3)
    with torch.inference_mode():
        inside = fit_logistic(features.float() + 0, labels + 0, classes=3, c=1.0)
    outside = fit_logistic(features.float(), labels, classes=3, c=1.0)

    assert torch.equal(outside.weight, inside.weight)
    assert (torch.float32, False) == (inside.weight.dtype, inside.weight.requires_grad)


class Sweep:
    """In the place of the fit: c is as good as it is near to a power of ten."""

    def __init__(self, goal: float) -> None:
        self.goal = goal
        self.tried: list[float] = []

    def __call__(self, features: Tensor, labels: Tensor, *, classes: int, c: float) -> Logistic:
        self.tried.append(round(float(np.log10(c)), 6))
        wrong = min(30, round(abs(self.tried[-1] - self.goal) * 8))
        return Wrong(torch.zeros(0), torch.tensor(wrong))


class Wrong(Logistic):
    """Right about class 0, apart from the first ``bias`` rows."""

    def logits(self, features: Tensor) -> Tensor:
        said = torch.zeros(len(features), 2)
        said[: int(self.bias), 1] = 1
        return said


@pytest.mark.parametrize("goal", [-0.375, 1.125, 5.0, -6.5])
def test_the_search_narrows_down_to_an_eighth_of_a_power_of_ten(goal: float, monkeypatch: pytest.MonkeyPatch):
    """Fifteen fits: seven far apart, then two on both sides of the best, four times."""
    sweep = Sweep(goal)
    monkeypatch.setattr(probe, "fit_logistic", sweep)
    c = choose_c(torch.zeros(150, 1), torch.zeros(150, dtype=torch.int64), classes=2, share=0.2)

    assert goal == pytest.approx(np.log10(c))
    assert [-6, -4, -2, 0, 2, 4, 6] == sweep.tried[:7]
    assert (15, 15) == (len(sweep.tried), len(set(sweep.tried)))


def test_of_equal_strengths_the_least_is_chosen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(probe, "fit_logistic", lambda *_, **__: Wrong(torch.zeros(0), torch.tensor(0)))

    assert 10**-7.875 == pytest.approx(
        choose_c(torch.zeros(9, 1), torch.zeros(9, dtype=torch.int64), classes=2, share=0.5)
    )


@given(labels=st.lists(st.integers(0, 3), min_size=1, max_size=40), share=st.floats(0.01, 0.99))
def test_a_share_of_each_class_is_held_out(labels: list[int], share: float):
    """Rounded down, and spread: of the first rows of a class there is never more than their share."""
    held_out = probe._every(torch.tensor(labels), share=share)
    for label in set(labels):
        own = held_out[torch.tensor(labels) == label]
        counts = own.cumsum(0)

        assert [int((n + 1) * share) for n in range(len(own))] == pytest.approx(counts.tolist(), abs=1e-9)


TRAIN = [(colour, (label,)) for label in (0, 1) for colour in range(100 * label, 100 * label + 50, 5)]


def probed(train: list, test: list, classes: list[str] | None = None, **options):
    evaluation = LinearProbe(
        train=Coloured(train),
        test=Coloured(test),
        train_classes=["dark", "bright"],
        test_classes=["dark", "bright"] if classes is None else classes,
        **options,
    )
    return evaluation(Toy(), processor)  # pyright: ignore


def test_what_the_encoder_separates_is_found():
    """And what lies on the other side is not; classes may be in another order."""
    result = probed(TRAIN, [(0, (1,)), (20, (1,)), (140, (0,)), (10, (0,))], ["bright", "dark"], batch_size=3)

    assert {"pictures/top1": 3 / 4, "classes/top1": (1 / 2 + 1) / 2} == pytest.approx(
        {name: value for name, value in result.record.items() if name != "c"}
    )
    assert {"dark": 1.0, "bright": 0.5} == result.accuracy
    assert 4 == result.pictures


def test_a_given_strength_is_used():
    """Next to none of the weight is left at one that small."""
    assert 1e-6 == probed(TRAIN, TRAIN, c=1e-6).record["c"]
    assert 1.0 == probed(TRAIN, TRAIN, c=100.0).record["pictures/top1"]


def test_the_model_is_left_as_it_was():
    """In the mode in which it was, without a gradient, and no random number is drawn."""
    toy, state = Toy(), torch.get_rng_state()
    LinearProbe(train=Coloured(TRAIN), test=Coloured(TRAIN), train_classes=["a", "b"], test_classes=["a", "b"])(
        toy,
        processor,  # pyright: ignore
    )

    assert (True, True, None) == (toy.training, toy.free.training, toy.weight.grad)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("train", "test", "classes", "message"),
    [
        ([], TRAIN, None, "train: there is no picture"),
        (TRAIN, [], None, "test: there is no picture"),
        (TRAIN, TRAIN, ["dark", "grey"], "test: the class 'grey' is not among those of train"),
        (TRAIN, [(3, (2,))], None, "test: 0 should have one of 2 classes as label"),
        (
            [(0, (0,)), (200, (1,))],
            TRAIN,
            None,
            "train: no class has enough pictures to choose c on some of them; give c, or more pictures",
        ),
    ],
)
def test_what_cannot_be_probed(train: list, test: list, classes: list[str] | None, message: str):
    with pytest.raises(InputError) as caught:
        probed(train, test, classes)

    assert message == str(caught.value)


def test_sources_without_pictures_are_refused():
    with pytest.raises(ValueError, match=r"flava\.glosses has no image"):
        ProbeSpec(train=GlossesSpec(), test=EmojiSpec())
    with pytest.raises(ValueError, match=r"flava\.glosses has no image"):
        ProbeSpec(train=EmojiSpec(), test=GlossesSpec())
