"""Numbers of the model that change over a run: by spec, and as observers propose."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import tiny_run

import flava_parts as fp
from flava_parts.compose import compose
from flava_parts.errors import InputError, SpecError
from flava_parts.train.course import Course
from flava_parts.train.proposals import Weights
from flava_parts.train.specs import ChangeSpec, ConstantSpec, PiecewiseSpec

SPEC = fp.load_spec("flava.tiny")


def course(number: str, *points: tuple[int, float], smooth: bool = False) -> Course:
    schedule = PiecewiseSpec(points=points, smooth=smooth)
    return Course(SPEC, {"it": ChangeSpec(number=number, schedule=schedule)}, steps=100)


@given(step=st.integers(0, 100))
def test_a_number_is_the_model_s_times_the_factor(step: int) -> None:
    """A whole number is rounded; one that nothing changes is the model's own."""
    rate = course("text_masker.probability", (0, 1.0), (50, 2.0))

    assert (0.3 if step >= 50 else 0.15) == rate.value("text_masker.probability", step)
    assert (0.3 if step >= 50 else 0.15) == rate.masker("text_masker", step).probability
    assert SPEC.image_masker == rate.masker("image_masker", step)

    patches = course("image_masker.total", (0, 0.5), (100, 1.0), smooth=True)

    assert round(6 * (0.5 + step / 200)) == patches.masker("image_masker", step).total


@pytest.mark.parametrize(
    ("change", "where", "message"),
    [
        ("{number: losses.itn.weight}", "number", "no number of the model"),
        ("{number: losses.itm.init_std}", "number", "no number of the model"),
        ("{number: image_encoder.depth}", "number", "no number of the model"),
        ("{number: image_masker.exact}", "number", "no number of the model"),
        ("{number: text_masker.probability, factor: 8}", "schedule", "at step 0, probability would be 1.2"),
    ],
)
def test_what_cannot_change_is_a_located_error(change: str, where: str, message: str) -> None:
    """A loss or a field that is not there, what is no number, a number that leaves its range."""
    number, _, factor = change.strip("{}").removeprefix("number: ").partition(", factor: ")
    block = f"{{number: {number}, schedule: {{type: flava.piecewise, points: [[0, {factor or 1}]]}}}}"
    with pytest.raises(SpecError, match=message) as caught:
        tiny_run(f"train.changes.it={block}")

    assert ("train", "changes", "it", where) == caught.value.problems[0].loc


class Asking:
    """An observer that proposes."""

    def __init__(self, **factors: float) -> None:
        self.factors = factors

    def propose(self) -> Mapping[str, float]:
        return self.factors


def test_weights_follow_the_course_and_proposals() -> None:
    """Proposed factors multiply what the spec says at that step, hold, and are told by path."""
    model = compose(SPEC, device="meta")
    weights = Weights(model, course("losses.itm.weight", (0, 1.0), (10, 0.5)))

    assert {"losses.itm.weight": 1.0} == weights.apply(0)
    assert {"losses.itm.weight": 0.5} == weights.apply(10)
    assert 0.5 == model.losses["itm"].weight

    weights.listen([object(), Asking(itm=0.5, mlm=3)])

    assert {"losses.itm.weight": 0.25, "losses.mlm.weight": 3.0} == weights.apply(11)
    assert 3.0 == model.losses["mlm"].weight
    assert 1.0 == model.losses["mim"].weight

    weights.listen([Asking()])

    assert {"losses.itm.weight": 0.5, "losses.mlm.weight": 3.0} == weights.apply(0)


@pytest.mark.parametrize("factors", [{"itn": 1.0}, {"itm": -1.0}, {"itm": float("nan")}, {"itm": float("inf")}])
def test_a_wrong_proposal_names_who_made_it(factors: dict[str, float]) -> None:
    weights = Weights(compose(SPEC, device="meta"), Course(SPEC, {}, steps=1))
    with pytest.raises(InputError, match="Asking proposes it"):
        weights.listen([Asking(**factors)])

    assert {} == weights.proposed


def test_a_constant_changes_nothing() -> None:
    spec = {"it": ChangeSpec(number="losses.itm.weight", schedule=ConstantSpec())}

    assert 1.0 == Course(SPEC, spec, steps=5).value("losses.itm.weight", 3)
