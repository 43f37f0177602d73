"""The finetuned model: it computes what its head reads and no more, and what is frozen stays as it is."""

from __future__ import annotations

import pytest
import torch
from runs import tiny_run

from flava_parts.compose import compose, compose_classifier
from flava_parts.data.sources.specs import EmojiSpec
from flava_parts.data.specs import LabelledDataSpec
from flava_parts.errors import SpecError
from flava_parts.heads.classification import FlavaForClassification
from flava_parts.heads.specs import LinearClassifierSpec
from flava_parts.spec import FinetuneSpec
from flava_parts.train.specs import FinetuneTrainSpec
from flava_parts.train.taking_over import take_over

MODEL = tiny_run("model.image_encoder.dropout=0.1").model
BATCH = {
    "pixel_values": torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)),
    "input_ids": torch.randint(200, 900, (3, 7), generator=torch.Generator().manual_seed(0)),
    "attention_mask": torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [1] * 6 + [0]]),
}
LABELS = torch.eye(6, dtype=torch.bool)[:3]


def classifier(reads, *freeze) -> FlavaForClassification:
    """A classifier of the six groups, with the weights of seed 0."""
    torch.manual_seed(0)
    return compose_classifier(
        FinetuneSpec(
            model=MODEL,
            head=LinearClassifierSpec(reads=reads),
            data=LabelledDataSpec(train=EmojiSpec()),
            train=FinetuneTrainSpec(steps=1, freeze=freeze),
        )
    )


@pytest.mark.parametrize("reads", ["image", "text", "fused"])
def test_the_head_reads_the_clean_summary_of_pretraining(reads: str) -> None:
    """With the weights of a pretraining model, the summaries are those that its `encode` gives."""
    torch.manual_seed(1)
    pretrained = compose(MODEL).eval()
    model = classifier(reads).eval()
    take_over(model, pretrained, place="there")
    encoded = pretrained.encode(**BATCH)
    states = {"image": encoded.image, "text": encoded.text, "fused": encoded.multimodal}[reads]
    assert states is not None

    torch.testing.assert_close(model.head(states.last_hidden_state[:, 0]), model(**BATCH).logits, rtol=0, atol=0)


@pytest.mark.parametrize(("reads", "unread"), [("image", "input_ids"), ("text", "pixel_values")])
def test_what_the_head_does_not_read_is_not_there(reads: str, unread: str) -> None:
    """Neither as a part nor in the computation."""
    model = classifier(reads).eval()
    only = {name: value for name, value in BATCH.items() if name != unread}

    assert {f"{reads}_encoder", "head"} == {name for name, _ in model.named_children()}
    assert torch.equal(model(**BATCH).logits, model(**only).logits)


@pytest.mark.parametrize(
    ("reads", "missing"),
    [("image", "pixel_values"), ("text", "input_ids"), ("fused", "pixel_values"), ("fused", "input_ids")],
)
def test_what_the_head_reads_is_asked_for(reads: str, missing: str) -> None:
    with pytest.raises(ValueError, match=f"the head reads {reads}, but there are no {missing}"):
        classifier(reads)(**{name: value for name, value in BATCH.items() if name != missing})


def test_a_loss_needs_labels() -> None:
    model = classifier("image")
    without, labelled = model(**BATCH), model(**BATCH, labels=LABELS)

    assert (None, {}) == (without.loss, without.losses)
    assert {"classification": labelled.loss} == labelled.losses


def test_padding_does_not_matter() -> None:
    """What stands behind the words of a text changes nothing."""
    model = classifier("fused").eval()
    other = BATCH["input_ids"].where(BATCH["attention_mask"].bool(), 42)

    torch.testing.assert_close(model(**BATCH).logits, model(**BATCH | {"input_ids": other}).logits)


@pytest.mark.parametrize(
    "frozen", [("image_encoder",), ("text_encoder", "fusion"), ("image_encoder", "text_encoder", "fusion")]
)
def test_frozen_parts_get_no_gradient_and_stay_in_evaluation_mode(frozen: tuple[str, ...]) -> None:
    """Whatever mode the model is put into; the other parts get theirs, also below a frozen one."""
    model = classifier("fused", *frozen)
    model(**BATCH, labels=LABELS).loss.backward()
    graded = {name.partition(".")[0] for name, weight in model.named_parameters() if weight.grad is not None}

    assert {"image_encoder", "text_encoder", "fusion", "head"} - set(frozen) == graded
    for mode in (True, False, True):
        model.train(mode)
        for slot, part in model.named_children():
            assert {mode and slot not in frozen} == {module.training for module in part.modules()}, slot


def test_a_frozen_part_has_no_dropout() -> None:
    """Training twice on a batch gives the same summary."""
    first, frozen = classifier("image"), classifier("image", "image_encoder")

    assert not torch.equal(first(**BATCH).logits, first(**BATCH).logits)
    assert torch.equal(frozen(**BATCH).logits, frozen(**BATCH).logits)


def test_classify_gives_probabilities_of_named_classes() -> None:
    model = classifier("fused").eval()
    probabilities = model.classify(**BATCH)

    assert (3, len(model.classes)) == probabilities.shape
    torch.testing.assert_close(model(**BATCH).logits.softmax(dim=1), probabilities)
    assert "food & drink" in model.classes


def test_a_classifier_without_a_model_cannot_be_composed() -> None:
    spec = FinetuneSpec(data=LabelledDataSpec(train=EmojiSpec()), train=FinetuneTrainSpec(steps=1))
    with pytest.raises(SpecError, match="model: is missing; fine-tuning takes it from a pretrained model"):
        compose_classifier(spec)
