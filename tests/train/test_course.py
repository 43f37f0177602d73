"""Numbers of the model that change over a run: by spec, and as observers propose."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import tiny_run

import flava_parts as fp
from flava_parts.compose import compose
from flava_parts.errors import InputError, Loc, SpecError
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


STEP = "schedule: {{type: flava.piecewise, points: [[0, 1], [{step}, {factor}]]}}"


def change(number: str, factor: float, *, step: int = 2) -> str:
    """A change that multiplies a number from a step on."""
    return f"{{number: {number}, {STEP.format(step=step, factor=factor)}}}"


@pytest.mark.parametrize(
    ("changes", "name", "message", "see"),
    [
        (
            {"a": change("text_masker.probability", 4), "b": change("text_masker.probability", 4)},
            "b",
            "at step 2, probability would be 2.4: input should be less than or equal to 1",
            ("train", "changes", "a", "schedule"),
        ),
        (
            {"a": change("text_masker.probability", 8), "b": change("text_masker.mask_share", 0.5)},
            "a",
            "at step 2, probability would be 1.2: input should be less than or equal to 1",
            None,
        ),
        (
            {"a": change("text_masker.mask_share", 1.1), "b": change("text_masker.random_share", 2)},
            "b",
            "at step 2, mask_share would be 0.88, random_share would be 0.2: ",
            None,
        ),
        (
            {"a": change("image_masker.total", 100)},
            "a",
            "at step 2, 600 patches cannot be hidden in a grid of 4x4, 16 patches",
            None,
        ),
    ],
)
def test_changes_are_checked_together_and_against_the_rest(
    changes: dict[str, str], name: str, message: str, see: Loc | None
) -> None:
    """Two of a number, two of a part, one against the grid: the change that is too much beside those before it."""
    with pytest.raises(SpecError) as caught:
        tiny_run(*(f"train.changes.{key}={block}" for key, block in changes.items()))

    (problem,) = [problem for problem in caught.value.problems if problem.level == "error"]

    assert ("train", "changes", name, "schedule") == problem.loc
    assert problem.message.startswith(message)
    assert see == problem.see


def test_changes_that_go_together_are_right() -> None:
    """Though one of them alone would not be."""
    pair = {"a": change("text_masker.probability", 8), "b": change("text_masker.probability", 0.5)}
    spec = tiny_run(*(f"train.changes.{key}={block}" for key, block in pair.items()))

    assert 0.6 == Course(spec.model, spec.train.changes, steps=4).value("text_masker.probability", 3)


@pytest.mark.parametrize("step", [1001, 2999, 3999])
def test_every_step_of_a_long_run_is_tried(step: int) -> None:
    """A spike of one step is found."""
    spike = f"schedule: {{type: flava.piecewise, points: [[0, 1], [{step}, 100], [{step + 1}, 1]]}}"
    with pytest.raises(SpecError, match=f"at step {step}, probability would be 15: "):
        tiny_run(f"train.changes.it={{number: text_masker.probability, {spike}}}", steps=4000)


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
