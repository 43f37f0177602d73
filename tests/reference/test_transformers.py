"""Given the same weights, transformers' FLAVA and ours say the same: outputs, losses, gradients."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.oracles import (
    EXACT,
    LENGTH,
    LOSSES,
    PASSES,
    SINGLE,
    Tiny,
    Tolerance,
    assert_close,
    assert_same_gradients,
    assert_same_states,
    backward,
    batch,
    coloured_cells,
    drawn,
    hugging_face,
    hugging_face_config,
    in_double,
    randomise,
    seeds,
    tinies,
)
from torch.nn import functional
from transformers import FlavaImageModel, FlavaModel

from flava_parts.compose import compose
from flava_parts.facts import Grid
from flava_parts.interop.keys import from_ours, their_names, to_ours
from flava_parts.model import FlavaForPreTraining

MASKS = [
    {"masked": False, "labels": False},
    {"masked": True, "labels": False},
    {"masked": True, "labels": True},
    {"masked": True, "labels": True, "square_mask": True},
]
AROUND = [{}, {"pads": True, "token_types": True}]
MATCHES = [None, [1, 1, 1, 1], [0, 1, 1, 0]]
IMAGES = [{"image": True, "text": False, **mask} for mask in MASKS]
TEXTS = [{"image": False, "text": True, **mask, **around} for mask, around in product(MASKS[:3], AROUND)]
PAIRS = [{**mask, **around, "itm": itm} for mask, around, itm in product(MASKS, AROUND, MATCHES)]


def transformers_output(model: Any, inputs: dict[str, torch.Tensor], **changes: Any) -> Any:
    """The reference's output. It writes into its labels, and insists on image labels wherever it is to give losses."""
    copies = {name: value.clone() for name, value in inputs.items()}
    labelled = "mlm_labels" in inputs or "mim_labels" in inputs
    return model(**copies, return_loss=labelled, skip_unmasked_multimodal_encoder=False, **changes)


def assert_same_output(theirs: Any, ours: Any, tolerance: Tolerance) -> None:
    for name in PASSES:
        expected, actual = getattr(theirs, f"{name}_output"), getattr(ours, name)
        assert (expected is None) == (actual is None), name
        if expected is not None:
            assert_same_states(expected, actual, tolerance.value, name)


def assert_same_losses(theirs: Any, ours: Any, tolerance: Tolerance) -> None:
    assert {name for name in LOSSES if getattr(theirs.loss_info, name) is not None} == set(ours.losses)
    for name, value in ours.losses.items():
        assert_close(getattr(theirs.loss_info, name), value, tolerance.value, name)
    if ours.losses:
        assert_close(theirs.loss, ours.loss, tolerance.value, "loss")


def assert_same_logits(
    theirs: Any, sparse: Any, dense: Any, inputs: dict[str, torch.Tensor], tolerance: Tolerance
) -> None:
    """At labelled rows where there are labels, everywhere where there are none."""
    rows = inputs.get("itm_labels", torch.ones(4, dtype=torch.bool)).bool()
    for name in LOSSES[:4]:
        expected = getattr(theirs, f"{name}_logits")
        everywhere = getattr(dense, f"{name}_logits")
        assert (expected is None) == (everywhere is None), name
        if expected is None:
            continue
        if name in sparse.losses:
            assert_close(expected, getattr(sparse, f"{name}_logits"), tolerance.value, name)
        else:
            assert getattr(sparse, f"{name}_logits") is None
            chosen = rows if name.startswith("mmm") else torch.ones_like(rows)
            patches_or_words = expected[:, -everywhere.shape[1] :]  # the reference's mim head also reads the summary
            assert_close(patches_or_words, everywhere[chosen], tolerance.value, name)
    if theirs.itm_logits is not None:
        assert_close(theirs.itm_logits, dense.itm_logits, tolerance.value, "itm")
    if theirs.contrastive_logits_per_image is not None:
        for way in ("contrastive_logits_per_image", "contrastive_logits_per_text"):
            chosen = rows if dense.itm_logits is not None else torch.ones_like(rows)
            assert_close(getattr(theirs, way), getattr(dense, way)[chosen], tolerance.value, way)


def compare(tiny: Tiny, seed: int, combination: dict[str, Any], theirs: Any, ours: Any, tolerance: Tolerance) -> None:
    inputs = batch(tiny, seed, **combination, dtype=next(ours.parameters()).dtype)
    inputs.pop("itm_labels", None) if tiny.weights["itm"] == 0 else None
    expected = transformers_output(theirs, inputs)
    sparse = ours(**inputs, passes=PASSES)
    dense = ours(**inputs, output_logits=True)
    assert_same_output(expected, sparse, tolerance)
    assert_same_logits(expected, sparse, dense, inputs, tolerance)
    if not expected.loss_info.all_none():
        assert_same_losses(expected, sparse, tolerance)
        assert_same_losses(expected, dense, tolerance)
        backward(expected.loss, theirs)
        backward(sparse.loss, ours)
        exact = None
        if tolerance is SINGLE:
            exact, wide = in_double(theirs, inputs)
            backward(transformers_output(exact, wide).loss, exact)
        assert_same_gradients(theirs, ours, "transformers", tolerance.gradient, exact)


def both(tiny: Tiny, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Any, FlavaForPreTraining]:
    theirs = hugging_face(tiny, seed, dtype)
    return theirs, tiny.ours(theirs.state_dict(), "transformers", dtype)


@settings(drawn, max_examples=25)
@given(tiny=tinies(), seed=seeds)
def test_every_combination_of_inputs(tiny: Tiny, seed: int) -> None:
    theirs, ours = both(tiny, seed)
    for combination in [*IMAGES, *TEXTS, *PAIRS]:
        compare(tiny, seed, combination, theirs, ours, EXACT)


@settings(drawn, max_examples=4)
@given(tiny=tinies(), seed=seeds)
def test_every_combination_of_inputs_in_single_precision(tiny: Tiny, seed: int) -> None:
    theirs, ours = both(tiny, seed, torch.float32)
    for combination in [IMAGES[-1], TEXTS[-1], *PAIRS[-3:]]:
        compare(tiny, seed, combination, theirs, ours, SINGLE)


@settings(drawn, max_examples=15)
@given(tiny=tinies(widths=st.sampled_from([4, 8, 12])), seed=seeds, pads=st.booleans(), shifted=st.booleans())
def test_encoders_of_different_widths(tiny: Tiny, seed: int, pads: bool, shifted: bool) -> None:
    theirs = FlavaModel(hugging_face_config(tiny)).double().eval()
    randomise(theirs, seed)
    ours = compose(tiny.spec()).double().eval()
    missing = ours.load_state_dict(to_ours(theirs.state_dict(), "transformers_model"), strict=False).missing_keys
    assert {name.split(".head.")[0].split(".")[0] for name in missing} == {"codebook", "losses"}
    inputs = batch(tiny, seed, pads=pads, token_types=True, labels=False)
    del inputs["input_ids_masked"]
    if shifted:
        inputs["position_ids"] = torch.arange(LENGTH)[None] + 2
    expected, actual = theirs(**inputs), ours.encode(**inputs)
    assert_same_states(expected.image_output, actual.image, EXACT.value, "image")
    assert_same_states(expected.text_output, actual.text, EXACT.value, "text")
    assert_same_states(expected.multimodal_output, actual.multimodal, EXACT.value, "multimodal")


@settings(drawn, max_examples=10)
@given(tiny=tinies(), seed=seeds)
def test_position_ids_of_the_clean_pass(tiny: Tiny, seed: int) -> None:
    tiny = replace(tiny, weights=dict.fromkeys(LOSSES, 0.0) | {"global_contrastive": 1.0})
    theirs, ours = both(tiny, seed)
    positions = torch.arange(LENGTH).flip(0).expand(4, -1)
    inputs = batch(tiny, seed, pads=True) | {"position_ids": positions}
    expected, actual = transformers_output(theirs, inputs), ours(**inputs, passes=["image", "text"])
    assert_same_states(expected.text_output, actual.text, EXACT.value, "text")
    assert_same_losses(expected, actual, EXACT)


@settings(drawn, max_examples=10)
@given(tiny=tinies(), seed=seeds)
def test_hidden_states_and_attentions_of_each_encoder_alone(tiny: Tiny, seed: int) -> None:
    theirs, ours = both(tiny, seed)
    inputs = batch(tiny, seed, pads=True, token_types=True)
    asked = {"output_attentions": True, "output_hidden_states": True}
    image = theirs.flava.image_model(inputs["pixel_values"], inputs["bool_masked_pos"], **asked)
    ids, keep, types = inputs["input_ids"], inputs["attention_mask"], inputs["token_type_ids"]
    text = theirs.flava.text_model(ids, keep, types, **asked)
    ours_image = ours.image_encoder(inputs["pixel_values"], inputs["bool_masked_pos"], **asked)
    ours_text = ours.text_encoder(ids, keep, types, **asked)
    fused_keep = torch.cat([torch.ones(4, image.last_hidden_state.shape[1] + tiny.cls_token), keep], dim=1)
    projected = [
        theirs.flava.image_to_mm_projection(image.hidden_states[-1]),
        theirs.flava.text_to_mm_projection(text.hidden_states[-1]),
    ]
    fused = theirs.flava.multimodal_model(torch.cat(projected, dim=1), fused_keep, **asked)
    ours_fused = ours.fusion(ours_image.pre_norm, ours_text.pre_norm, None, keep, **asked)
    for expected, actual in ((image, ours_image), (text, ours_text), (fused, ours_fused)):
        assert_same_states(expected, actual, EXACT.value, "states")
        pairs = zip(
            [*expected.hidden_states, *expected.attentions], [*actual.hidden_states, *actual.attentions], strict=True
        )
        for theirs_states, our_states in pairs:
            assert_close(theirs_states, our_states, EXACT.value, "hidden states and attentions")


@settings(drawn, max_examples=8)
@given(tiny=tinies(), seed=seeds)
def test_a_mask_over_patches_and_words(tiny: Tiny, seed: int) -> None:
    """The reference's image encoder takes what is added to scores; its fusion alone takes a mask of zeros and ones."""
    theirs, ours = both(tiny, seed)
    inputs = batch(tiny, seed, pads=True)
    patches = inputs["bool_masked_pos"].logical_not()
    patches[:, 0] = True
    added = torch.zeros(4, 1, 1, tiny.grid.size + 1, dtype=torch.float64)
    added[:, 0, 0, 1:].masked_fill_(~patches, torch.finfo(torch.float64).min)
    image = theirs.flava.image_model(inputs["pixel_values"], attention_mask=added, output_hidden_states=True)
    text = theirs.flava.text_model(inputs["input_ids"], inputs["attention_mask"], output_hidden_states=True)
    summaries = torch.ones(4, 1 + tiny.cls_token)
    projected = [
        theirs.flava.image_to_mm_projection(image.hidden_states[-1]),
        theirs.flava.text_to_mm_projection(text.hidden_states[-1]),
    ]
    fused = theirs.flava.multimodal_model(
        torch.cat(projected, dim=1), torch.cat([summaries, patches, inputs["attention_mask"]], dim=1)
    )
    actual = ours.encode(
        inputs["input_ids"], inputs["pixel_values"], inputs["attention_mask"], image_attention_mask=patches
    )
    assert_same_states(image, actual.image, EXACT.value, "image")
    assert_same_states(fused, actual.multimodal, EXACT.value, "fused")


@pytest.mark.parametrize("size", [(4, 4), (6, 6), (6, 10), (12, 4), (14, 14)])
def test_interpolated_positions(size: tuple[int, int]) -> None:
    tiny = Tiny(patch_size=(2, 2), grid=Grid(3, 3))
    config = hugging_face_config(tiny).image_config
    config.update({"patch_size": 2, "image_size": 6})
    theirs = FlavaImageModel(config).double().eval()
    randomise(theirs, 0)
    names = {f"flava.image_model.{name}": value for name, value in theirs.state_dict().items()}
    ours = tiny.spec().image_encoder.build().double()
    ours.load_state_dict(
        {name.removeprefix("image_encoder."): value for name, value in to_ours(names, "transformers").items()}
    )
    pixels = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = theirs(pixels, interpolate_pos_encoding=True, output_hidden_states=True)
    actual = ours(pixels)
    assert_same_states(expected, actual, EXACT.value, "interpolated")
    backward(expected.last_hidden_state.sum(), theirs)
    backward(actual.last_hidden_state.sum(), ours)
    assert_close(
        theirs.embeddings.position_embeddings.grad, ours.position_embedding.grad, EXACT.gradient, "positions' gradient"
    )


@settings(drawn, max_examples=8)
@given(tiny=tinies(), seed=seeds)
def test_features_of_the_first_token_are_our_projections(tiny: Tiny, seed: int) -> None:
    theirs, ours = both(tiny, seed)
    inputs = batch(tiny, seed, pads=True, token_types=True)
    words = {name: inputs[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    image = theirs.flava.get_image_features(inputs["pixel_values"]).pooler_output[:, 0]
    text = theirs.flava.get_text_features(**words).pooler_output[:, 0]
    shared = ours.losses["global_contrastive"]
    clean = ours.encode(pixel_values=inputs["pixel_values"], **words)
    assert_close(image, shared.image_projection(clean.image.last_hidden_state[:, 0]), EXACT.value, "image")
    assert_close(text, shared.text_projection(clean.text.last_hidden_state[:, 0]), EXACT.value, "text")
    assert_close(
        functional.normalize(image, dim=-1), ours.embed_image(inputs["pixel_values"]), EXACT.value, "unit image"
    )
    assert_close(functional.normalize(text, dim=-1), ours.embed_text(**words), EXACT.value, "unit text")


@settings(drawn, max_examples=5)
@given(tiny=tinies(), seed=seeds)
def test_codes_and_the_losses_they_lead_to(tiny: Tiny, seed: int) -> None:
    theirs, ours = both(tiny, seed, torch.float32)
    inputs = batch(tiny, seed, dtype=torch.float32)
    del inputs["mim_labels"]
    view = coloured_cells(tiny, seed)
    assert ours.codebook(view).unique().numel() > 1
    assert torch.equal(theirs.image_codebook.get_codebook_indices(view).flatten(1), ours.codebook(view))
    assert_close(
        theirs.image_codebook.get_codebook_probs(view), ours.codebook.probabilities(view), SINGLE.value, "codes"
    )
    inputs["codebook_pixel_values"] = view
    if any(tiny.weights[name] for name in ("mmm_image", "mmm_text", "itm", "global_contrastive")):
        assert_same_losses(transformers_output(theirs, inputs), ours(**inputs), SINGLE)


@settings(drawn, max_examples=5)
@given(tiny=tinies(), seed=seeds)
def test_weights_travel_both_ways_and_none_is_left_over(tiny: Tiny, seed: int) -> None:
    theirs, ours = both(tiny, seed, torch.float32)
    again = hugging_face(tiny, seed + 1, torch.float32)
    again.load_state_dict(from_ours(ours.state_dict(), "transformers"), strict=True)
    for name, value in theirs.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    base = from_ours(
        {name: value for name, value in ours.state_dict().items() if their_names(name, "transformers_model")},
        "transformers_model",
    )
    FlavaModel(again.config).load_state_dict(base, strict=True)
