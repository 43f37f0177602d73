"""Labelled samples as tensors: inputs, labels, and labels that cannot be; bad ones are replaced, or left out."""

from __future__ import annotations

import pickle
from typing import Literal

import pytest
import torch
from data.made_up import MadeUp, MadeUpSpec
from data.test_loader import assert_equal
from torch import Generator

from flava_parts.data.labelled import HeldOut, LabelledBatches, Labelling
from flava_parts.data.sources.bad_sample import BadSampleError
from flava_parts.data.sources.emoji import Emoji
from flava_parts.data.sources.sample import Sample
from flava_parts.data.sources.specs import EMOJI_GROUPS, EmojiSpec, GlossesSpec
from flava_parts.encoders.specs import ViTSpec
from flava_parts.errors import InputError
from flava_parts.inputs.specs import ViewsSpec, WordPieceSpec
from flava_parts.inputs.views import Views
from flava_parts.spec import FlavaSpec

VIEWS = Views.of(FlavaSpec(image_encoder=ViTSpec(image_size=32, patch_size=16), codebook=None), ViewsSpec())
TOKENIZER = WordPieceSpec(length=16).build()


def labelling(use="texts", *, classes: int = 3, multi_label: bool = False) -> Labelling:
    return Labelling(use=use, classes=classes, multi_label=multi_label, tokenizer=TOKENIZER, views=VIEWS)


class Marked(MadeUp):
    """Made up, with the labels 0 and 1 in turns."""

    def sample(self, index: int, generator: Generator | None = None) -> Sample:
        return super().sample(index, generator)._replace(labels=(index % 2,))


class MarkedSpec(MadeUpSpec):
    """Made up so."""

    type: Literal["tests.marked"] = "tests.marked"  # type: ignore[assignment]

    def build(self) -> Marked:
        return Marked(**self.arguments())


SOURCE = MarkedSpec()


def batches(source=SOURCE, *, use="pairs", classes: int = 2, on_error="skip", seed: int = 0) -> LabelledBatches:
    made = labelling(use, classes=classes)
    return LabelledBatches(source, made, stream="train", batch_size=10, seed=seed, on_error=on_error)


@pytest.mark.parametrize(
    ("use", "fields"),
    [
        ("pairs", {"pixel_values", "input_ids", "attention_mask", "token_type_ids"}),
        ("images", {"pixel_values"}),
        ("texts", {"input_ids", "attention_mask", "token_type_ids"}),
    ],
)
def test_a_batch_holds_what_is_used_and_the_labels(use: str, fields: set[str]) -> None:
    """Each emoji has the one group that its record says."""
    source = Emoji()
    samples = [source.sample(index) for index in (0, 700, 1800)]
    tensors = labelling(use, classes=6).tensors(samples, place="there")

    assert fields | {"labels"} == tensors.keys()
    assert ((3, 6), torch.bool) == (tensors["labels"].shape, tensors["labels"].dtype)
    assert [source._records[index]["group"] for index in (0, 700, 1800)] == [
        EMOJI_GROUPS[index] for index in tensors["labels"].int().argmax(dim=1).tolist()
    ]


def test_a_step_decides_its_batch() -> None:
    """Whatever was asked before, here and where it is sent to; each epoch has each sample once, drawn anew."""
    used = batches(MarkedSpec(size=40, bad_every=9))
    drawn = [used.batch(step) for step in range(8)]
    sent = pickle.loads(pickle.dumps(used))
    for step in (5, 2):
        assert_equal(drawn[step], sent.batch(step))

    assert sorted(drawn[0].samples) != sorted(drawn[1].samples)
    keys = [[key for batch in some for key in batch.samples] for some in (drawn[:4], drawn[4:])]
    good = {str(index) for index in range(40) if index % 9 != 1}
    assert all(good <= set(some) for some in keys)
    assert 2.0 == drawn[7].metrics["epoch/train"]
    assert not torch.equal(batches(seed=1).batch(0).tensors["pixel_values"], batches().batch(0).tensors["pixel_values"])


def test_a_draw_belongs_to_its_sample() -> None:
    """Not to its place in a batch: as other samples come, the same one looks the same."""
    found = {}
    for size in (5, 10):
        some = LabelledBatches(
            MarkedSpec(size=40),
            labelling("images", classes=2),
            stream="train",
            batch_size=size,
            seed=0,
            on_error="skip",
        )
        for step in range(40 // size):
            batch = some.batch(step)
            found.setdefault(size, {}).update(zip(batch.samples, batch.tensors["pixel_values"], strict=True))

    assert all(torch.equal(found[5][key], found[10][key]) for key in found[5])


def test_bad_samples_are_replaced_and_counted() -> None:
    """In the order of their steps; or raised, if that is asked for."""
    spec = MarkedSpec(size=40, bad_every=4)
    drawn = [batches(spec).batch(step) for step in range(4)]
    bad = [found for batch in drawn for found in batch.bad]

    assert {index for index in range(40) if index % 4 == 1} == {found.sample for found in bad}
    assert len(bad) == sum(n for batch in drawn for name, n in batch.metrics.items() if name.startswith("bad/"))
    assert all(int(key) % 4 != 1 for batch in drawn for key in batch.samples)
    with pytest.raises(BadSampleError):
        [batches(spec, on_error="raise").batch(step) for step in range(4)]
    with pytest.raises(InputError, match=r"data\.train: 101 samples drawn in a row are bad, the last because"):
        batches(GlossesSpec(), use="images").batch(0)


def test_what_is_measured_on_is_as_it_is() -> None:
    """Whole pictures and first captions, in order; bad samples are left out, or raised."""
    spec = MarkedSpec(size=25, bad_every=4)
    held_out = HeldOut(spec, labelling("pairs", classes=2), stream="held_out", on_error="skip")
    found = list(held_out.batches(10))
    source = spec.build()
    samples = [source.sample(index) for index in range(25) if not source.is_bad(index)]
    expected = labelling("pairs", classes=2).tensors(samples, place="there")

    assert (6, [7, 8, 4]) == (held_out.bad, [len(tensors["labels"]) for tensors in found])
    for name in ("pixel_values", "labels"):
        assert torch.equal(expected[name], torch.cat([tensors[name] for tensors in found]))
    with pytest.raises(BadSampleError):
        list(HeldOut(spec, labelling("pairs", classes=2), stream="held_out", on_error="raise").batches(10))


def test_many_labels_are_many_ones() -> None:
    tensors = labelling(multi_label=True).tensors(marked((0, 2), (), (1,)), place="there")

    assert [[1, 0, 1], [0, 0, 0], [0, 1, 0]] == tensors["labels"].int().tolist()


def marked(*labels: tuple[int, ...]) -> list[Sample]:
    """Texts with these labels."""
    return [Sample(f"s{number}", text="a word", labels=each) for number, each in enumerate(labels)]


@pytest.mark.parametrize(
    ("labels", "multi_label", "message"),
    [
        ((3,), False, "there: sample s1 has the label 3, but the 3 classes are numbered from 0"),
        ((0, -1), True, "there: sample s1 has the label -1, but the 3 classes are numbered from 0"),
        ((), False, "there: sample s1 has 0 labels, not one; a head with multi_label: true takes any number"),
        ((0, 1), False, "there: sample s1 has 2 labels, not one; a head with multi_label: true takes any number"),
    ],
)
def test_labels_that_cannot_be(labels: tuple[int, ...], multi_label: bool, message: str) -> None:
    with pytest.raises(InputError) as caught:
        labelling(multi_label=multi_label).tensors(marked((0,), labels), place="there")

    assert message == str(caught.value)


def test_the_spec_states_the_classes() -> None:
    """The emoji's six groups; a source without labels has none."""
    assert {record["group"] for record in Emoji()._records} == set(EmojiSpec().classes)
    assert () == GlossesSpec().classes
