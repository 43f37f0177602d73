"""Zero-shot classification: the nearest description wins, ties lose, and nothing is left behind."""

from __future__ import annotations

import pytest
import torch
from evaluate.toys import Coloured, Toy, processor
from hypothesis import given
from hypothesis import strategies as st

from flava_parts.data.sources.specs import EmojiSpec, GlossesSpec
from flava_parts.errors import InputError
from flava_parts.evaluate.specs import ZeroShotSpec
from flava_parts.evaluate.zero_shot import ZeroShot, ZeroShotResult


def measured(pictures: list[tuple[int, tuple[int, ...]]], classes: list[str], **options) -> ZeroShotResult:
    evaluation = ZeroShot(source=Coloured(pictures), classes=classes, **{"templates": ["a {}"], **options})
    return evaluation(Toy(), processor)  # pyright: ignore


def test_the_nearest_class_wins():
    """Two of three pictures of one class, and the only one of another; a class without a picture does not count."""
    result = measured([(10, (0,)), (14, (0,)), (18, (0,)), (31, (2,))], ["10", "20", "30"])

    assert {"pictures/top1": 3 / 4, "classes/top1": (2 / 3 + 1) / 2} == pytest.approx(result.record)
    assert {"10": 2 / 3, "30": 1.0} == pytest.approx(result.accuracy)
    assert 4 == result.pictures


def test_top5_of_more_than_five_classes():
    """Below that it says nothing."""
    classes = [str(10 * i) for i in range(7)]

    assert 1 / 2 == measured([(0, (4,)), (0, (5,))], classes).record["pictures/top5"]
    assert "pictures/top5" not in measured([(0, (4,))], classes[:5]).record


def test_the_texts_of_a_class_are_averaged():
    """Of 20 and 60 that is 40: nearer to 45 than 30 is."""
    texts: list[str] = []

    said = {"near one 20": "20", "far one 20": "60", "near b c 30": "30", "far b c 30": "30"}

    def reading(images=None, text=None, padding=True):
        if text is not None:
            texts.extend(text)
            text = [said[each] for each in text]
        return processor(images, text, padding)

    evaluation = ZeroShot(
        source=Coloured([(45, (0,))]), classes=["one_20", "b c 30"], templates=["near {}", "far {}"], batch_size=3
    )
    result = evaluation(Toy(), reading)  # pyright: ignore

    assert list(said) == texts
    assert 1.0 == result.record["pictures/top1"]


def test_a_model_that_says_nothing_is_never_right():
    """Classes that are equally near: the others come first."""
    assert 0.0 == measured([(10, (0,)), (10, (1,))], ["10", "10"]).record["pictures/top1"]


@given(
    pictures=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 3)), min_size=1, max_size=9),
    batch_size=st.integers(1, 9),
)
def test_batches_change_nothing(pictures: list[tuple[int, int]], batch_size: int):
    """And progress is told to the end of each part."""
    told: dict[str, tuple[int, int]] = {}
    labelled = [(colour, (label,)) for colour, label in pictures]
    classes = ["7", "31", "55", "80"]
    evaluation = ZeroShot(source=Coloured(labelled), classes=classes, batch_size=batch_size)

    def watch(what: str, done: int, total: int) -> None:
        told[what] = (done, total)

    found = evaluation(Toy(), processor, watch=watch)  # pyright: ignore

    assert measured(labelled, classes).record == pytest.approx(found.record)
    assert {"descriptions": (4, 4), "pictures": (len(pictures), len(pictures))} == told


@pytest.mark.parametrize("mode", [True, False])
def test_the_model_is_left_as_it_was(mode: bool):
    toy, state = Toy().train(mode), torch.get_rng_state()
    toy.frozen.eval()
    ZeroShot(source=Coloured([(1, (0,))]), classes=["1"])(toy, processor)  # pyright: ignore

    assert (mode, mode, False) == (toy.training, toy.free.training, toy.frozen.training)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("pictures", "classes", "message"),
    [
        ([], ["1"], "zero-shot: there is no picture"),
        ([(1, (0,))], [], "zero-shot: the pictures have no classes; take a source with labels, such as a folder"),
        ([(1, (0,)), (1, ())], ["1"], "zero-shot: 1 should have one of 1 classes as label"),
        ([(1, (0, 0))], ["1"], "zero-shot: 0 should have one of 1 classes as label"),
        ([(1, (1,))], ["1"], "zero-shot: 0 should have one of 1 classes as label"),
    ],
)
def test_what_cannot_be_evaluated(pictures: list[tuple[int, tuple[int, ...]]], classes: list[str], message: str):
    with pytest.raises(InputError) as caught:
        measured(pictures, classes)

    assert message == str(caught.value)


def test_templates_have_a_place_for_the_class():
    """And there is at least one; the source has pictures."""
    source = EmojiSpec()

    assert ("{} is {}",) == ZeroShotSpec(source=source, templates=("{} is {}",)).templates
    with pytest.raises(ValueError, match=r"'a photo' has no \{\} where the name"):
        ZeroShotSpec(source=source, templates=("a {}", "a photo"))
    with pytest.raises(ValueError, match="at least 1 item"):
        ZeroShotSpec(source=source, templates=())
    with pytest.raises(ValueError, match=r"flava\.glosses has no image"):
        ZeroShotSpec(source=GlossesSpec())
