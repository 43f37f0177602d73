"""Labelled samples as tensors: inputs, labels, and labels that cannot be."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from flava_parts.data.labelled import Labelled
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


class Labels:
    """Texts with the labels that a test says."""

    def __init__(self, *labels: tuple[int, ...]) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def sample(self, index: int, generator: Generator | None = None) -> Sample:
        return Sample(key=f"s{index}", text="a word", labels=self.labels[index])


def labelled(source, use="texts", *, classes: int = 3, multi_label: bool = False) -> Labelled:
    return Labelled(
        source, place="there", use=use, classes=classes, multi_label=multi_label, tokenizer=TOKENIZER, views=VIEWS
    )


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
    tensors = labelled(source, use, classes=6).tensors([0, 700, 1800])

    assert fields | {"labels"} == tensors.keys()
    assert ((3, 6), torch.bool) == (tensors["labels"].shape, tensors["labels"].dtype)
    assert [source._records[index]["group"] for index in (0, 700, 1800)] == [
        EMOJI_GROUPS[index] for index in tensors["labels"].int().argmax(dim=1).tolist()
    ]


def test_only_training_is_augmented() -> None:
    """Without a generator a batch is the same at every reading; with one, it follows from the seed."""
    samples = labelled(Emoji(), "images", classes=6)

    def pixels(seed: int | None) -> torch.Tensor:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return samples.tensors([3, 4], generator)["pixel_values"]

    assert torch.equal(pixels(None), pixels(None))
    assert torch.equal(pixels(1), pixels(1))
    assert not torch.equal(pixels(1), pixels(None))


def test_many_labels_are_many_ones() -> None:
    samples = labelled(Labels((0, 2), (), (1,)), multi_label=True)

    assert [[1, 0, 1], [0, 0, 0], [0, 1, 0]] == samples.tensors([0, 1, 2])["labels"].int().tolist()


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
        labelled(Labels((0,), labels), multi_label=multi_label).tensors([0, 1])

    assert message == str(caught.value)


def test_a_sample_that_lacks_what_is_used_is_named() -> None:
    with pytest.raises(InputError, match="there: sample 0 has no picture"):
        labelled(GlossesSpec().build(), "images").tensors([0])


def test_the_spec_states_the_classes() -> None:
    """The emoji's six groups; a source without labels has none."""
    assert {record["group"] for record in Emoji()._records} == set(EmojiSpec().classes)
    assert () == GlossesSpec().classes
