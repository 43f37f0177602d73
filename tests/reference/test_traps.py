"""The traps of the existing implementations: what transformers does, and what this project promises instead.

The numbers are those of the list of traps that the project was started with; a test's name says which it is about.
Trap 14 is about several processes, and is in `test_distributed`; trap 25, compilation, in `test_compile`.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from reference.oracles import (
    EXACT,
    LENGTH,
    LOSSES,
    PASSES,
    Tiny,
    Tower,
    assert_close,
    assert_same_states,
    batch,
    coloured_cells,
    hugging_face,
    hugging_face_config,
)
from torch import Tensor
from torch.nn import functional
from transformers import FlavaConfig, FlavaForPreTraining, FlavaModel

from flava_parts.compose import compose
from flava_parts.facts import IGNORE, Grid
from flava_parts.layers.output import EncoderOutput
from flava_parts.losses.specs import GlobalContrastiveSpec, ITMSpec
from flava_parts.model import FlavaForPreTraining as OurModel
from flava_parts.spec import FlavaSpec
from flava_parts.train.blocks import recompute

TINY = Tiny(grid=Grid(2, 3))
MODALITIES = [{"text": False}, {"image": False, "pads": True}, {"itm": [0, 1, 1, 0], "pads": True}, {"itm": None}]


@pytest.fixture(scope="module")
def theirs() -> Any:
    return hugging_face(TINY, 0)


@pytest.fixture(scope="module")
def ours(theirs: Any) -> OurModel:
    return TINY.ours(theirs.state_dict(), "transformers")


def copied(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in inputs.items()}


# ------------------------------------------------------------------------------------------------- losses and labels


@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("combination", MODALITIES)
def test_trap_01_inputs_are_never_written_to(ours: OurModel, combination: dict[str, Any], square: bool) -> None:
    inputs = batch(TINY, 0, **combination, square_mask=square)
    before = copied(inputs)
    ours(**inputs, output_logits=True)
    for name, value in before.items():
        assert torch.equal(value, inputs[name]), name


def test_trap_01_labels_can_be_used_again_with_another_mask(theirs: Any, ours: OurModel) -> None:
    inputs = batch(TINY, 0, text=False)
    once, again = inputs["bool_masked_pos"], ~inputs["bool_masked_pos"]
    labels = inputs["mim_labels"].clone()
    theirs(**inputs | {"mim_labels": labels})
    assert theirs(**inputs | {"mim_labels": labels, "bool_masked_pos": again}).loss.isnan()
    fresh = ours(**copied(inputs) | {"bool_masked_pos": again}).loss
    ours(**inputs)
    assert torch.equal(fresh, ours(**inputs | {"bool_masked_pos": again}).loss)
    assert torch.equal(ours(**inputs).loss, ours(**inputs | {"bool_masked_pos": once}).loss)


@pytest.mark.parametrize("combination", MODALITIES)
def test_trap_02_nothing_masked_is_a_loss_of_zero_with_a_graph(
    theirs: Any, ours: OurModel, combination: dict[str, Any]
) -> None:
    inputs = batch(TINY, 0, **combination)
    if "bool_masked_pos" in inputs:
        inputs["bool_masked_pos"] = torch.zeros_like(inputs["bool_masked_pos"])
    if "mlm_labels" in inputs:
        inputs["mlm_labels"] = torch.full_like(inputs["mlm_labels"], IGNORE)
    assert theirs(**copied(inputs)).loss.isnan()
    output = ours(**inputs)
    masked = [name for name in output.losses if name in LOSSES[:4]]
    assert masked
    for name in masked:
        assert output.losses[name].item() == 0
        assert output.counts[name].item() == 0
        assert output.logits[name].shape[0] == 0
        ours.zero_grad(set_to_none=True)
        output.losses[name].backward(retain_graph=True)
        for value in ours.losses[name].parameters():
            assert torch.equal(torch.zeros_like(value), value.grad)
    assert output.loss.isfinite()


def test_trap_02_true_pairs_without_masked_tokens(theirs: Any, ours: OurModel) -> None:
    inputs = batch(TINY, 0, itm=[0, 1, 1, 0])
    true = inputs["itm_labels"].bool()
    inputs["bool_masked_pos"][true] = False
    inputs["mlm_labels"][true] = IGNORE
    assert theirs(**copied(inputs)).loss.isnan()
    output = ours(**inputs)
    assert [output.counts[name].item() for name in ("mmm_image", "mmm_text", "itm", "global_contrastive")] == [
        0,
        0,
        4,
        2,
    ]
    assert output.loss.isfinite()


@pytest.mark.parametrize("combination", [{"text": False}, {"itm": [0, 1, 1, 0]}])
def test_trap_03_labels_without_a_mask_are_a_clear_error(
    theirs: Any, ours: OurModel, combination: dict[str, Any]
) -> None:
    inputs = batch(TINY, 0, **combination)
    del inputs["bool_masked_pos"]
    with pytest.raises((AttributeError, TypeError), match="NoneType"):
        theirs(**copied(inputs))
    with pytest.raises(ValueError, match="has labels but no bool_masked_pos"):
        ours(**inputs)


def test_trap_03_a_loss_that_needs_no_mask_does_not_ask_for_one(ours: OurModel) -> None:
    inputs = batch(TINY, 0)
    del inputs["bool_masked_pos"]
    assert set(ours(**inputs, losses=["global_contrastive"]).losses) == {"global_contrastive"}


def test_trap_05_inference_asks_for_no_labels(theirs: Any, ours: OurModel) -> None:
    inputs = batch(TINY, 0, labels=False, masked=False)
    with pytest.raises(ValueError, match="codebook_pixel_value"):
        theirs(**inputs)
    assert set(ours(**inputs).losses) == {"global_contrastive"}  # the pairs themselves are its labels
    unimodal = batch(TINY, 0, text=False, labels=False, masked=False)
    output = ours(**unimodal)
    assert output.loss is None
    assert output.losses == {}


def test_trap_06_no_codebook_where_no_loss_reads_codes() -> None:
    weights = dict.fromkeys(LOSSES, 0.0) | {"itm": 1.0, "global_contrastive": 1.0}
    tiny = Tiny(weights=weights)
    inputs = batch(tiny, 0, itm=[0, 1, 1, 0], labels=False)
    with pytest.raises(RuntimeError, match="codebook"):
        FlavaForPreTraining(hugging_face_config(tiny, init_codebook=False)).double()(**inputs)
    losses = {"itm": ITMSpec(), "global_contrastive": GlobalContrastiveSpec(projection=5)}
    spec = tiny.spec().model_copy(update={"codebook": None, "losses": losses})
    assert set(compose(spec).double()(**inputs).losses) == set(losses)


def test_trap_06_the_codebook_does_not_run_where_no_loss_reads_codes(
    ours: OurModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours.codebook, "assign", lambda pixels: pytest.fail("the codebook ran"))
    inputs = batch(TINY, 0, itm=[0, 1, 1, 0]) | {"codebook_pixel_values": coloured_cells(TINY, 0)}
    del inputs["mim_labels"]
    ours(**inputs, losses=["itm", "mmm_text", "global_contrastive"])
    inputs["mim_labels"] = batch(TINY, 0)["mim_labels"]
    ours(**inputs)


def test_trap_07_match_labels_of_either_shape_and_only_zero_and_one(theirs: Any, ours: OurModel) -> None:
    inputs = batch(TINY, 0, itm=[0, 1, 1, 0])
    column = inputs["itm_labels"][:, None]
    with pytest.raises((IndexError, RuntimeError, ValueError)):
        theirs(**copied(inputs) | {"itm_labels": column})
    expected = ours(**inputs).loss
    for labels in (column, column.bool(), column.float()):
        assert torch.equal(expected, ours(**inputs | {"itm_labels": labels}).loss)
    for wrong in (2, -1, IGNORE):
        with pytest.raises(ValueError, match="1 where image and text match and 0 where they do not"):
            ours(**inputs | {"itm_labels": torch.tensor([0, 1, wrong, 0])})


def test_trap_08_outputs_are_never_filtered(theirs: Any, ours: OurModel) -> None:
    inputs = batch(TINY, 0, itm=[0, 1, 1, 0])
    expected = theirs(**copied(inputs))
    assert expected.multimodal_masked_embeddings.shape[0] == 2
    output = ours(**inputs, passes=PASSES)
    for name in PASSES:
        assert getattr(output, name).last_hidden_state.shape[0] == 4
    assert output.contrastive_logits_per_image.shape == (4, 4)
    assert output.contrastive_logits_per_text.shape == (4, 4)
    assert output.itm_logits.shape == (4, 2)


def test_trap_08_a_batch_without_a_true_pair(theirs: Any) -> None:
    inputs = batch(TINY, 0, itm=[0, 0, 0, 0])
    expected = theirs(**copied(inputs))
    state = theirs.state_dict()
    output = TINY.ours(state, "transformers")(**inputs)
    for name in ("mmm_image", "mmm_text", "global_contrastive"):
        assert getattr(expected.loss_info, name) > 1
        assert output.losses[name].item() == 0
        assert output.counts[name].item() == 0
    assert_close(expected.loss_info.itm, output.losses["itm"], EXACT.value)
    like_theirs = replace(TINY, all_negative="as_positive").ours(state, "transformers")(**inputs)
    for name, value in like_theirs.losses.items():
        assert_close(getattr(expected.loss_info, name), value, EXACT.value, name)


def test_trap_09_pairs_are_scored_clean(theirs: Any, ours: OurModel) -> None:
    inputs = batch(TINY, 0, pads=True, token_types=True, labels=False)
    reference = theirs(**inputs, return_loss=False, skip_unmasked_multimodal_encoder=False)
    clean = theirs.itm_head(reference.multimodal_embeddings).softmax(dim=-1)[:, 1]
    masked = reference.itm_logits.softmax(dim=-1)[:, 1]
    scores = ours.score_pairs(
        inputs["input_ids"], inputs["pixel_values"], inputs["attention_mask"], inputs["token_type_ids"]
    )
    assert_close(clean, scores.match_probability, EXACT.value)
    assert (masked - scores.match_probability).abs().max() > 1e-3
    cosines = reference.contrastive_logits_per_image.diagonal() / theirs.flava.logit_scale.exp()
    assert_close(cosines, scores.similarity, EXACT.value)


def test_trap_10_patches_of_a_fusion_without_its_own_summary() -> None:
    tiny = replace(TINY, cls_token=False)
    theirs = hugging_face(tiny, 0)
    ours = tiny.ours(theirs.state_dict(), "transformers")
    inputs = batch(tiny, 0, labels=False)
    fused = theirs(**inputs, return_loss=False)
    output = ours(**inputs, output_logits=True)
    patches = fused.multimodal_masked_embeddings[:, 1 : 1 + tiny.grid.size]
    assert_close(theirs.mmm_image_head(patches), output.mmm_image_logits, EXACT.value)
    assert_close(fused.mmm_image_logits[:, :-1], output.mmm_image_logits[:, 1:], EXACT.value)  # one late
    assert_close(fused.mmm_text_logits, output.mmm_text_logits, EXACT.value)


def test_trap_11_heads_are_as_wide_as_what_they_read() -> None:
    tiny = Tiny(image=Tower(width=8), text=Tower(width=12), fusion=Tower(width=20))
    inputs = batch(tiny, 0, itm=[0, 1, 1, 0])
    with pytest.raises(RuntimeError, match="shapes"):
        hugging_face(tiny, 0)(**copied(inputs))
    ours = compose(tiny.spec()).double()
    assert len(ours(**inputs).losses) == 4
    for combination, name in (({"text": False}, "mim"), ({"image": False}, "mlm")):
        assert set(ours(**batch(tiny, 0, **combination)).losses) == {name}
    widths = {name: loss.head.dense.in_features for name, loss in ours.losses.items() if name in LOSSES[:4]}
    assert widths == {"mim": 8, "mlm": 12, "mmm_image": 20, "mmm_text": 20}


def test_trap_12_nothing_claims_to_tie_weights_that_are_not_tied(theirs: Any, ours: OurModel) -> None:
    assert theirs.config.tie_word_embeddings
    words = theirs.flava.text_model.embeddings.word_embeddings.weight
    assert words.data_ptr() != theirs.mlm_head.decoder.weight.data_ptr()
    with pytest.raises(ValidationError):
        FlavaSpec.model_validate({"tie_word_embeddings": True})
    pointers = [value.data_ptr() for value in ours.parameters()]
    assert len(set(pointers)) == len(pointers)
    heads = [ours.losses[name].head.decoder.out_features for name in ("mlm", "mmm_text")]
    assert [ours.text_encoder.word_embedding.num_embeddings] * 2 == heads


@pytest.mark.parametrize(("scale", "clamped"), [(10.0, 4.6052), (-3.0, 0.0), (1.5, 1.5)])
@pytest.mark.parametrize("training", [False, True])
def test_trap_13_the_logit_scale_is_clamped_every_time_and_never_written_to(
    theirs: Any, scale: float, clamped: float, training: bool
) -> None:
    model = TINY.ours(theirs.state_dict(), "transformers").train(training)
    contrastive = model.losses["global_contrastive"]
    contrastive.logit_scale.data.fill_(scale)
    output = model(**batch(TINY, 0))
    cosines = output.contrastive_logits_per_image / torch.tensor(clamped, dtype=torch.float64).exp()
    assert cosines.abs().max() <= 1 + 1e-9
    image, text = (contrastive.scale(), torch.tensor(clamped, dtype=torch.float64).exp())
    assert_close(image, text, EXACT.value)
    assert contrastive.logit_scale.item() == scale
    output.loss.backward()
    assert contrastive.logit_scale.grad.abs() > 0


def test_trap_13_the_reference_uses_what_is_out_of_range_in_evaluation() -> None:
    theirs = hugging_face(TINY, 0)
    theirs.flava.logit_scale.data.fill_(10.0)
    output = theirs.eval()(**batch(TINY, 0, labels=False), return_loss=False)
    assert output.contrastive_logits_per_image.abs().max() > 101
    theirs.train()(**batch(TINY, 0, labels=False), return_loss=False)
    assert theirs.flava.logit_scale.item() == pytest.approx(4.6052)


@pytest.mark.parametrize("labels", [False, True])
def test_trap_15_asked_for_logits_cover_every_position(ours: OurModel, labels: bool) -> None:
    words, patches = (4, LENGTH, TINY.text_vocab), (4, TINY.grid.size, TINY.codes)
    image = ours(**batch(TINY, 0, text=False, labels=labels), output_logits=True)
    text = ours(**batch(TINY, 0, image=False, labels=labels), output_logits=True)
    pair = ours(**batch(TINY, 0, labels=labels), output_logits=True)
    assert (image.mim_logits.shape, text.mlm_logits.shape) == (patches, words)
    assert (pair.mmm_image_logits.shape, pair.mmm_text_logits.shape) == (patches, words)
    assert (pair.mim_logits, pair.mlm_logits) == (None, None)


def test_trap_15_logits_of_all_positions_cost_no_accuracy(ours: OurModel) -> None:
    inputs = batch(TINY, 0, itm=[0, 1, 1, 0])
    sparse, dense = ours(**inputs), ours(**inputs, output_logits=True)
    for name, value in sparse.losses.items():
        assert_close(value, dense.losses[name], EXACT.value, name)
    labelled = inputs["bool_masked_pos"] & inputs["itm_labels"].bool()[:, None]
    assert_close(sparse.mmm_image_logits, dense.mmm_image_logits[labelled], EXACT.value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("combination", MODALITIES)
def test_trap_16_nothing_is_printed_or_warned_about(
    ours: OurModel,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    combination: dict[str, Any],
) -> None:
    inputs = batch(TINY, 0, **combination)
    inputs.pop("input_ids_masked", None)
    with caplog.at_level(logging.DEBUG):
        ours(**inputs).loss.backward()
        ours.encode(inputs.get("input_ids"), inputs.get("pixel_values"))
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


# ------------------------------------------------------------------------------------------ forward, masks and shapes


def test_trap_17_hidden_patches_have_no_influence_anywhere(theirs: Any, ours: OurModel) -> None:
    inputs = batch(TINY, 0, pads=True, labels=False)
    keep = torch.ones(4, TINY.grid.size, dtype=torch.long)
    keep[:, -1] = 0
    with pytest.raises(RuntimeError, match="size of tensor"):
        theirs.flava(**{**inputs, "input_ids_masked": None, "image_attention_mask": keep})
    other = inputs["pixel_values"].clone()
    rows, columns = TINY.patch_size
    other[:, :, -rows:, -columns:] += 1
    asked = {"image_attention_mask": keep, "passes": PASSES}
    before, after = (ours(**inputs | {"pixel_values": pixels}, **asked) for pixels in (inputs["pixel_values"], other))
    for name in PASSES:
        first, second = (getattr(output, name).last_hidden_state for output in (before, after))
        seen = torch.ones(first.shape[1], dtype=torch.bool)
        if name != "text" and name != "text_masked":
            hidden = TINY.grid.size + name.startswith("multimodal") * TINY.cls_token
            seen[hidden] = False
        assert torch.equal(first[:, seen], second[:, seen]), name
    assert torch.equal(before.loss, after.loss)


def test_trap_18_position_ids_reach_the_masked_pass(theirs: Any, ours: OurModel) -> None:
    inputs = batch(TINY, 0, image=False, labels=False)
    positions = torch.arange(LENGTH).flip(0)[None]
    counted, given = (theirs(**inputs | {"position_ids": ids}, return_loss=False) for ids in (None, positions))
    assert torch.equal(counted.text_masked_embeddings, given.text_masked_embeddings)
    expected = theirs.flava.text_model(inputs["input_ids_masked"], position_ids=positions, output_hidden_states=True)
    actual = ours(**inputs, position_ids=positions, passes=["text_masked"])
    assert_same_states(expected, actual.text_masked, EXACT.value, "masked text")


def test_trap_19_every_pass_gives_what_is_asked_for_and_nothing_else(theirs: Any, ours: OurModel) -> None:
    inputs = batch(TINY, 0, labels=False)
    reference = theirs(**inputs, return_loss=False, output_attentions=True, output_hidden_states=True)
    assert reference.multimodal_masked_output.attentions is None
    with pytest.raises(ValueError, match="requires hidden states"):
        theirs(**inputs, return_loss=False, output_hidden_states=False)
    full = ours(**inputs, passes=PASSES, output_attentions=True, output_hidden_states=True)
    lean = ours(**inputs, passes=PASSES)
    for name in PASSES:
        states: EncoderOutput = getattr(full, name)
        depth = len(states.attentions)
        assert len(states.hidden_states) == depth + 1 == 3
        assert torch.equal(states.hidden_states[-1], states.pre_norm)
        assert states.attentions[0].shape == (4, 2, states.pre_norm.shape[1], states.pre_norm.shape[1])
        assert_close(torch.ones(4, 2, states.pre_norm.shape[1]).double(), states.attentions[0].sum(-1), EXACT.value)
        assert (getattr(lean, name).hidden_states, getattr(lean, name).attentions) == (None, None)
        assert_close(states.last_hidden_state, getattr(lean, name).last_hidden_state, EXACT.value, name)


def test_trap_20_embeddings_are_one_unit_vector_an_input(theirs: Any, ours: OurModel) -> None:
    inputs = batch(TINY, 0, pads=True)
    features = theirs.flava.get_image_features(inputs["pixel_values"])
    assert features.pooler_output.shape == (4, TINY.grid.size + 1, TINY.projection)
    image = ours.embed_image(inputs["pixel_values"])
    text = ours.embed_text(inputs["input_ids"], inputs["attention_mask"])
    for embedded in (image, text):
        assert embedded.shape == (4, TINY.projection)
        assert_close(torch.ones(4).double(), embedded.norm(dim=-1), EXACT.value)


def test_trap_21_shapes_are_those_that_are_documented(theirs: Any, ours: OurModel) -> None:
    inputs = batch(TINY, 0, labels=False)
    reference = theirs(**inputs, return_loss=False)
    assert reference.image_embeddings.dim() == 3
    assert reference.multimodal_embeddings is None
    encoded = ours.encode(inputs["input_ids"], inputs["pixel_values"])
    lengths = {"image": 1 + TINY.grid.size, "text": LENGTH, "multimodal": 2 + TINY.grid.size + LENGTH}
    for name, length in lengths.items():
        states = getattr(encoded, name)
        assert states.last_hidden_state.shape == states.pre_norm.shape == (4, length, 8)
        assert states.pooler_output.shape == (4, 8)


def test_trap_22_any_number_of_images_against_any_number_of_texts(theirs: Any, ours: OurModel) -> None:
    two, four = batch(TINY, 0, count=2), batch(TINY, 1)
    with pytest.raises(RuntimeError, match="Sizes of tensors"):
        theirs.flava(input_ids=four["input_ids"], pixel_values=two["pixel_values"])
    similarity = ours.embed_image(two["pixel_values"]) @ ours.embed_text(four["input_ids"]).T
    assert similarity.shape == (2, 4)
    for call in (ours, ours.encode):
        with pytest.raises(ValueError, match="2 images but 4 texts"):
            call(input_ids=four["input_ids"], pixel_values=two["pixel_values"])


@pytest.mark.parametrize(("patch_size", "size"), [((3, 3), (12, 6)), ((3, 2), (6, 12)), ((3, 3), (18, 18))])
def test_trap_23_the_whole_model_takes_other_sizes(patch_size: tuple[int, int], size: tuple[int, int]) -> None:
    tiny = replace(TINY, patch_size=patch_size)
    rows, columns = size[0] // patch_size[0], size[1] // patch_size[1]
    larger = replace(tiny, grid=Grid(rows, columns))
    inputs = batch(larger, 0, itm=[0, 1, 1, 0], pads=True)
    with pytest.raises(ValueError, match="Input image size"):
        hugging_face(tiny, 0)(**copied(inputs))
    ours = compose(tiny.spec()).double()
    output = ours(**inputs, output_logits=True)
    assert output.loss.isfinite()
    assert output.mmm_image_logits.shape == (4, rows * columns, tiny.codes)
    assert output.mmm_text_logits.shape == (4, LENGTH, tiny.text_vocab)
    output.loss.backward()
    with pytest.raises(ValueError, match="multiples of"):
        ours(pixel_values=torch.zeros(1, 3, size[0] + 1, size[1], dtype=torch.float64), passes=["image"])


def test_trap_24_attention_is_torchs_own_kernel(ours: OurModel, monkeypatch: pytest.MonkeyPatch) -> None:
    config = hugging_face_config(TINY)
    with pytest.raises(ValueError, match="scaled_dot_product_attention"):
        FlavaModel._from_config(config, attn_implementation="sdpa")
    calls = []
    kernel = functional.scaled_dot_product_attention
    monkeypatch.setattr(
        functional,
        "scaled_dot_product_attention",
        lambda *args, **kwargs: (calls.append(1), kernel(*args, **kwargs))[1],
    )
    ours(**batch(TINY, 0, pads=True))
    towers = ours.image_encoder, ours.text_encoder  # whose last block treats the clean and the masked pass apart
    assert len(calls) == sum(len(encoder.blocks) + 1 for encoder in towers) + len(ours.fusion.blocks)


@pytest.mark.parametrize("cls_token", [True, False])
def test_trap_26_codes_and_residual_stream_stay_exact_under_autocast(cls_token: bool) -> None:
    tiny = replace(TINY, cls_token=cls_token)
    ours = tiny.ours(hugging_face(tiny, 0).state_dict(), "transformers", torch.float32)
    inputs = batch(tiny, 0, itm=[0, 1, 1, 0], pads=True, dtype=torch.float32)
    del inputs["mim_labels"]
    inputs["codebook_pixel_values"] = coloured_cells(TINY, 0)
    codes = ours.codebook(inputs["codebook_pixel_values"])
    assert codes.unique().numel() > 1
    exact = ours(**inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(codes, ours.codebook(inputs["codebook_pixel_values"]))
        output = ours(**inputs, passes=PASSES, output_hidden_states=True)
    for name in PASSES:
        states = getattr(output, name)
        assert [value.dtype for value in states.hidden_states] == [torch.float32] * 3, name
        assert states.last_hidden_state.dtype == torch.float32
    for name, value in exact.losses.items():
        assert_close(value, output.losses[name].float(), 0.05, name)
    output.loss.backward()
    half = compose(tiny.spec()).bfloat16()
    assert half.codebook.input.weight.dtype == torch.float32
    assert half(**inputs | {"pixel_values": inputs["pixel_values"].bfloat16()}).loss.isfinite()


@pytest.mark.parametrize(
    ("combination", "idle"),
    [
        ({"itm": [0, 1, 1, 0]}, ("losses.mim", "losses.mlm")),
        ({"text": False}, ("text_encoder", "fusion", "losses.")),
        ({"image": False}, ("image_encoder", "fusion", "losses.")),
    ],
)
def test_trap_27_only_heads_of_other_modalities_get_no_gradient(
    combination: dict[str, Any], idle: tuple[str, ...]
) -> None:
    ours = compose(TINY.spec(pooler=False)).double()
    output = ours(**batch(TINY, 0, **combination))
    output.loss.backward()
    used = tuple(f"losses.{name}" for name in output.losses)
    for name, value in ours.named_parameters():
        expected = name.startswith(used) or not name.startswith(idle)
        unused_mask = name == "image_encoder.mask_token" and "pixel_values" not in output.losses
        assert (value.grad is not None) == expected or unused_mask, name
    reference = hugging_face(TINY, 0)
    reference(**batch(TINY, 0, **combination)).loss.backward()
    poolers = [value.grad for name, value in reference.named_parameters() if ".pooler." in name and "flava" in name]
    assert poolers == [None] * 6


def test_trap_28_nothing_unfreezes_the_codebook(theirs: Any, ours: OurModel) -> None:
    theirs.requires_grad_(True)
    assert all(value.requires_grad for value in theirs.image_codebook.parameters())
    ours.requires_grad_(True)
    assert list(ours.codebook.parameters()) == []
    assert not any(value.requires_grad for value in ours.codebook.buffers())


def test_trap_29_blocks_can_be_recomputed(theirs: Any) -> None:
    inputs = batch(TINY, 0, itm=[0, 1, 1, 0], pads=True)
    plain = TINY.ours(theirs.state_dict(), "transformers")
    saving = TINY.ours(theirs.state_dict(), "transformers")
    recompute(saving)
    losses = [model(**inputs).loss for model in (plain, saving)]
    assert torch.equal(*losses)
    for loss in losses:
        loss.backward()
    for name, value in plain.named_parameters():
        assert (value.grad is None) == (saving.get_parameter(name).grad is None), name
        if value.grad is not None:
            assert torch.equal(value.grad, saving.get_parameter(name).grad), name


@pytest.mark.parametrize("hidden", [True, False])
def test_trap_30_padding_in_the_fusion_is_a_choice(theirs: Any, hidden: bool) -> None:
    ours = replace(TINY, mask_text_padding=hidden).ours(theirs.state_dict(), "transformers")
    inputs = batch(TINY, 0, labels=False)
    ids, pixels = inputs["input_ids"], inputs["pixel_values"]
    padded = functional.pad(ids, (0, 2))
    keep = functional.pad(torch.ones_like(ids), (0, 2))
    short = ours.score_pairs(ids, pixels).match_probability
    long = ours.score_pairs(padded, pixels, keep).match_probability
    apart = (short - long).abs().max()
    assert apart < 1e-10 if hidden else apart > 1e-4


@pytest.mark.parametrize(
    "document",
    [
        {"hidden_dropout_prob": 0.2},
        {"num_hidden_layers": 3},
        {"max_position_embeddings": 100},
        {"image_encoder": {"type": "flava.vit", "layers": 3}},
        {"text_encoder": {"type": "flava.text", "max_position_embeddings": 100}},
        {"text_encoder": {"type": "flava.text", "image_size": 32}},
        {"fusion": {"type": "flava.fusion", "use_cls_token": False}},
        {"losses": {"mim": {"type": "flava.mim", "wieght": 2.0}}},
        {"losses": {"itm": {"type": "flava.itm", "projection": 5}}},
        {"image_encoder": {"type": "flava.vit", "depth": "3"}},
        {"image_encoder": {"type": "flava.text"}},
    ],
)
def test_trap_35_unknown_and_misplaced_keys_are_errors(document: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FlavaSpec.model_validate(document)


def test_trap_35_the_reference_takes_any_key() -> None:
    config = FlavaConfig(hidden_dropout_prob=0.2, num_hidden_layers=3, max_position_embeddings=100)
    assert config.text_config.num_hidden_layers == 12


def test_trap_37_masks_for_an_encoder_without_a_mask_token() -> None:
    spec = TINY.spec()
    encoder = spec.image_encoder.model_copy(update={"mask_token": False}).build().double()
    inputs = batch(TINY, 0)
    with pytest.raises(ValueError, match="mask_token=False"):
        encoder(inputs["pixel_values"], inputs["bool_masked_pos"])


def test_trap_43_a_text_that_is_too_long_is_a_clear_error(theirs: Any, ours: OurModel) -> None:
    ids = torch.ones(2, LENGTH + 3, dtype=torch.long)
    with pytest.raises((IndexError, RuntimeError)):
        theirs.flava(ids)
    with pytest.raises(ValueError, match=f"L at most {LENGTH + 2}"):
        ours.encode(ids)
