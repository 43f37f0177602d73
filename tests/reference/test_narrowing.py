"""Without states to give back, last blocks compute what losses read and nothing else; losses and gradients stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.oracles import (
    EXACT,
    LENGTH,
    Tiny,
    Tower,
    assert_close,
    backward,
    batch,
    coloured_cells,
    drawn,
    hugging_face,
    seeds,
    tinies,
)
from reference.test_transformers import IMAGES, PAIRS, TEXTS
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from flava_parts.codebooks.codebook import Codebook
from flava_parts.facts import IGNORE, STREAM_PASSES, Reading, Streams
from flava_parts.layers.padding import Padding
from flava_parts.losses.value import LossValue
from flava_parts.model import FlavaForPreTraining
from flava_parts.narrowing import Labelled, narrow

TINY = Tiny(image=Tower(depth=2), text=Tower(depth=2), fusion=Tower(depth=2))
PASSES = ("image", "image_masked", "text", "text_masked", "multimodal", "multimodal_masked")


def learnt(model: FlavaForPreTraining, inputs: dict[str, Tensor], **asked: Any) -> tuple[Any, dict[str, Tensor]]:
    """The output for a batch, and the gradients of all parameters, zeros where there is none."""
    output = model(**inputs, **asked)
    if output.loss is not None:
        backward(output.loss, model)
    gradients = {
        name: torch.zeros_like(value) if value.grad is None else value.grad.clone()
        for name, value in model.named_parameters()
    }
    return output, gradients


def assert_same_lesson(model: FlavaForPreTraining, inputs: dict[str, Tensor], **asked: Any) -> None:
    """Losses, counts and gradients are those of whole passes, and no states come back."""
    whole, expected = learnt(model, inputs, **asked)
    lean, actual = learnt(model, inputs, output_states=False, **asked)
    assert whole.losses.keys() == lean.losses.keys()
    for name, value in whole.losses.items():
        assert_close(value, lean.losses[name], EXACT.value, name)
        assert torch.equal(whole.counts[name], lean.counts[name])
    for name, value in expected.items():
        assert_close(value, actual[name], EXACT.gradient, name)
    assert [None] * 6 == [getattr(lean, name) for name in PASSES]


@settings(drawn, max_examples=5)
@given(tiny=tinies(), seed=seeds)
def test_losses_and_gradients_are_those_of_whole_passes(tiny: Tiny, seed: int) -> None:
    """For every combination of inputs, pads and mismatched pairs among them."""
    model = tiny.ours(hugging_face(tiny, seed).state_dict(), "transformers")
    for combination in [*IMAGES, *TEXTS, *PAIRS, {"itm": [0, 0, 0, 0]}]:
        assert_same_lesson(model, batch(tiny, seed, **combination))


@pytest.mark.parametrize(
    "names", [("mmm_image",), ("mmm_text",), ("itm",), ("global_contrastive",), ("itm", "mmm_text")]
)
def test_any_choice_of_losses(names: tuple[str, ...]) -> None:
    model = TINY.ours(hugging_face(TINY, 0).state_dict(), "transformers")

    assert_same_lesson(model, batch(TINY, 0, pads=True, itm=[0, 1, 1, 0]), losses=names)


def test_rows_without_any_label() -> None:
    """A row, or a whole batch, in which nothing is hidden."""
    model = TINY.ours(hugging_face(TINY, 0).state_dict(), "transformers")
    for rows in (slice(0, 1), slice(None)):
        inputs = batch(TINY, 0, pads=True, itm=[1, 1, 1, 1])
        inputs["bool_masked_pos"][rows] = False
        inputs["mlm_labels"][rows] = IGNORE
        assert_same_lesson(model, inputs)


@settings(drawn, max_examples=10)
@given(
    keep=st.lists(st.lists(st.booleans(), min_size=LENGTH, max_size=LENGTH), min_size=4, max_size=4),
    image=st.booleans(),
    seed=seeds,
)
def test_padding_wherever_it_is(keep: list[list[bool]], image: bool, seed: int) -> None:
    """Before the text, within it, under its summary or a label, or all of it."""
    model = TINY.ours(hugging_face(TINY, 0).state_dict(), "transformers")
    inputs = batch(TINY, seed, image=image, itm=[0, 1, 1, 0] if image else None)
    assert_same_lesson(model, inputs | {"attention_mask": torch.tensor(keep).long()})


def left_out(model: FlavaForPreTraining, inputs: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens are left each time that padding is left out, as if that were always worth it."""
    found: list[int] = []
    remove = Padding.remove

    def removing(padding: Padding, tokens: Tensor) -> Tensor:
        found.append(len(padding.places))
        return remove(padding, tokens)

    with monkeypatch.context() as patch:
        patch.setattr("flava_parts.layers.padding.WORTH", 1.0)
        patch.setattr(Padding, "remove", removing)
        assert_same_lesson(model, inputs)
    return found


@pytest.mark.parametrize("mask_text_padding", [True, False])
def test_padding_that_somebody_attends_to_is_no_padding(
    mask_text_padding: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two texts of three and five words, eight are computed, twice; all if the fusion looks at padding."""
    model = TINY.ours(hugging_face(TINY, 0).state_dict(), "transformers")
    assert model.fusion is not None
    model.fusion.mask_text_padding = mask_text_padding
    inputs = batch(TINY, 0, count=2)
    inputs["attention_mask"] = (torch.arange(LENGTH) < torch.tensor([[3], [5]])).long()
    inputs["mlm_labels"][:, 3:] = IGNORE
    found = left_out(model, inputs, monkeypatch)

    assert (16 in found) == mask_text_padding
    assert mask_text_padding or not found


def test_words_that_a_loss_reads_whole_are_no_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    class Everywhere(torch.nn.Module):
        weight = 1.0

        def forward(self, streams: dict[str, Tensor], *, dense: bool = False) -> LossValue:
            total = streams[Streams.MASKED_WORDS].square().mean()
            return LossValue(value=total, count=torch.ones(()), logits=None, targets=None)

    model = TINY.ours(hugging_face(TINY, 0).state_dict(), "transformers")
    inputs = batch(TINY, 0, pads=True)
    assert left_out(model, inputs, monkeypatch)

    model.losses["everywhere"] = Everywhere()
    model.readings["everywhere"] = Reading(
        streams=frozenset({Streams.MASKED_WORDS}), modalities=frozenset({"image", "text"})
    )
    assert [] == left_out(model, inputs, monkeypatch)


@pytest.mark.parametrize("reads", [True, False])
def test_the_codebook_looks_at_rows_with_labels_alone(reads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at mismatched pairs, nor where nothing is hidden, nor at all if there are no others; also one that always
    gives the codes of all patches."""
    model = TINY.ours(hugging_face(TINY, 0).state_dict(), "transformers")
    assert model.codebook is not None
    seen: list[int] = []
    model.codebook.register_forward_hook(lambda _, pixels, __: seen.append(len(pixels[0])))
    if not reads:
        monkeypatch.setattr(type(model.codebook), "forward", Codebook.forward)
    inputs = batch(TINY, 0, itm=[0, 1, 1, 1])
    inputs["codebook_pixel_values"] = coloured_cells(TINY, 0)
    del inputs["mim_labels"]
    inputs["bool_masked_pos"][2] = False

    assert_same_lesson(model, inputs)
    assert [4, 2] == seen

    inputs["bool_masked_pos"][:] = False
    assert_same_lesson(model, inputs)
    assert [4, 2, 4] == seen


def test_states_that_are_asked_for_are_whole() -> None:
    """With states, logits at every position, or a pass that the caller names, nothing is left out of it."""
    model = TINY.ours(hugging_face(TINY, 0).state_dict(), "transformers")
    inputs = batch(TINY, 0)
    expected = model(**inputs, output_logits=True)

    assert torch.equal(expected.multimodal_masked.pre_norm, model(**inputs).multimodal_masked.pre_norm)
    dense = model(**inputs, output_states=False, output_logits=True)
    assert torch.equal(expected.mmm_image_logits, dense.mmm_image_logits)


def test_less_is_computed() -> None:
    """The last of two blocks costs a clean pass little."""
    model = TINY.ours(hugging_face(TINY, 0).state_dict(), "transformers").float()
    inputs = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in batch(TINY, 0).items()}

    def operations(**asked: Any) -> dict[str, int]:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(**inputs, losses=["global_contrastive"], **asked)
        counts = counter.get_flop_counts()
        return {
            name: sum(counts[f"{type(model).__name__}.{name}"].values())
            for name in ("image_encoder.blocks.0", "image_encoder.blocks.1", "text_encoder.blocks.1")
        }

    whole, lean = operations(), operations(output_states=False)
    assert whole["image_encoder.blocks.0"] == lean["image_encoder.blocks.0"]
    for name in ("image_encoder.blocks.1", "text_encoder.blocks.1"):
        assert lean[name] < 0.5 * whole[name], name


def test_a_loss_that_says_nothing_is_given_everything() -> None:
    """A stream that somebody reads whole is whole, for all of its readers, and so are its labels."""
    lengths: dict[str, int] = {}

    class Everywhere(torch.nn.Module):
        weight = 1.0

        def forward(self, streams: dict[str, Tensor], *, dense: bool = False) -> LossValue:
            lengths.update({name: streams[name].shape[1] for name in (Streams.FUSED_WORDS, Streams.TEXT_LABELS)})
            total = streams[Streams.FUSED_WORDS].square().mean()
            return LossValue(value=total, count=torch.ones(()), logits=None, targets=None)

    model = TINY.ours(hugging_face(TINY, 0).state_dict(), "transformers")
    model.losses["everywhere"] = Everywhere()
    model.readings["everywhere"] = Reading(
        streams=frozenset({Streams.FUSED_WORDS, Streams.TEXT_LABELS}), modalities=frozenset({"image", "text"})
    )
    inputs = batch(TINY, 0)
    assert_same_lesson(model, inputs)
    assert {inputs["input_ids"].shape[1]} == set(lengths.values())


def test_an_encoder_that_cannot_leave_anything_out_is_asked_for_everything() -> None:
    """A plugin's encoder need not know about it."""
    model = TINY.ours(hugging_face(TINY, 0).state_dict(), "transformers")
    encoder = model.image_encoder

    class Plain(torch.nn.Module):
        prefix = encoder.prefix

        def __init__(self) -> None:
            super().__init__()
            self.inner = encoder

        def forward(self, pixels: Tensor, masked: Tensor | None = None, keep: Tensor | None = None, **output: bool):
            assert {"output_attentions", "output_hidden_states"} == output.keys()
            return self.inner(pixels, masked, keep, **output)

    model.image_encoder = Plain()
    assert_same_lesson(model, batch(TINY, 0, pads=True, itm=[0, 1, 1, 0]))
    assert_same_lesson(model, batch(TINY, 0, text=False))


def test_both_image_passes_cut_their_patches_once() -> None:
    model = TINY.ours(hugging_face(TINY, 0).state_dict(), "transformers")
    calls: list[int] = []
    model.image_encoder.patch_embedding.register_forward_hook(lambda *_: calls.append(1))
    model(**batch(TINY, 0))

    assert [1] == calls


def test_several_texts_in_one_row_are_as_if_each_had_its_own() -> None:
    """With positions that restart, and an attention mask that keeps them apart."""
    model = TINY.ours(hugging_face(TINY, 0).state_dict(), "transformers")
    inputs = batch(TINY, 0, image=False, count=2)
    apart = model(**inputs)
    length = inputs["input_ids"].shape[1] // 2
    short = {name: tensor[:, :length] for name, tensor in inputs.items()}
    packed: dict[str, Tensor] = {name: tensor.reshape(1, -1) for name, tensor in short.items()}
    text = torch.arange(2).repeat_interleave(length)
    packed["attention_mask"] = (text[:, None] == text)[None]
    packed["position_ids"] = torch.arange(length).repeat(2)[None]
    for asked in ({}, {"output_states": False}):
        assert_close(model(**short).losses["mlm"], model(**packed, **asked).losses["mlm"], EXACT.value)
    assert not torch.equal(apart.losses["mlm"], model(**packed).losses["mlm"])

    with pytest.raises(ValueError, match=r"attention_mask \(B, L, L\) is for texts alone"):
        model(**(batch(TINY, 0, count=1) | {"attention_mask": packed["attention_mask"]}))


def test_where_labels_are() -> None:
    """Rows with fewer labels than others are filled up, and say so."""
    has_label = torch.tensor([[False, True, False, True], [False, False, True, False]])
    labelled = Labelled.where(has_label)

    assert [1, 3] == labelled.positions[0].tolist()
    assert 2 == labelled.positions[1, 0]
    assert [[True, True], [True, False]] == labelled.real.tolist()
    assert [[7, 9], [5, IGNORE]] == labelled(torch.tensor([[6, 7, 8, 9], [3, 4, 5, 6]])).tolist()


def test_labels_stay_where_they_are_if_their_pass_is_whole() -> None:
    """Masked patches of pairs are also what the fusion is built on: then neither they nor their labels are narrowed."""
    reading = Reading(
        streams=frozenset({Streams.MASKED_PATCHES, Streams.IMAGE_LABELS}),
        modalities=frozenset({"image", "text"}),
        at={Streams.MASKED_PATCHES: Streams.IMAGE_LABELS},
    )
    has_label = {Streams.IMAGE_LABELS: torch.ones(2, 4, dtype=torch.bool)}
    free = narrow([reading], ["image_masked"], has_label, STREAM_PASSES)
    built_on = narrow([reading], [], has_label, STREAM_PASSES)

    assert (frozenset({"image_masked"}), [Streams.IMAGE_LABELS]) == (free.passes, list(free.labelled))
    assert (frozenset(), []) == (built_on.passes, list(built_on.labelled))


def test_a_stream_that_a_plugin_takes_from_a_pass_is_whole() -> None:
    reading = Reading(streams=frozenset({"acme.regions"}), modalities=frozenset({"image"}))

    assert frozenset() == narrow([reading], ["image"], {}, {**STREAM_PASSES, "acme.regions": "image"}).passes
