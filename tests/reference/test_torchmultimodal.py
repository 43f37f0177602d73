"""Given the same weights, torchmultimodal's FLAVA and ours say the same: outputs, losses, gradients.

Said to ours: its prediction heads' epsilon (1e-5), a text encoder that does not see padding, and a fusion that does.
Two things it computes in float32 whatever it is given: its layer norms, which are replaced by torch's own for the exact
comparison, and the square root of a head's width, for which widths of 1 and 4 are chosen.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference.oracles import (
    EXACT,
    LOSSES,
    PAD,
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
    in_double,
    seeds,
    tinies,
    torch_multimodal,
)
from torch import nn
from torchmultimodal.modules.layers.normalizations import Fp32LayerNorm

from flava_parts.facts import IGNORE, Grid
from flava_parts.interop.keys import from_ours
from flava_parts.model import FlavaForPreTraining

UNIMODAL = [{"text": False}, {"image": False}, {"image": False, "pads": True}]
PAIRS = [
    {"pads": pads, "itm": itm, "square_mask": square}
    for pads, itm, square in [
        (False, [1, 1, 1, 1], False),
        (False, [0, 1, 1, 0], True),
        (True, [0, 1, 1, 0], False),
        (True, [1, 1, 1, 1], True),
        (True, None, False),
    ]
]


@pytest.fixture
def _torch_layer_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fp32LayerNorm, "forward", nn.LayerNorm.forward)


@st.composite
def said_to_both(draw: st.DrawFn) -> Tiny:
    """What torchmultimodal can be told: square images and patches, biases everywhere, one activation for the heads."""
    tiny = draw(tinies())
    heads = st.sampled_from([2, 8])
    return replace(
        tiny,
        image=replace(tiny.image, qkv_bias=True, heads=draw(heads)),
        text=replace(tiny.text, qkv_bias=True, heads=draw(heads), activation=tiny.image.activation),
        fusion=replace(tiny.fusion, qkv_bias=True, heads=draw(heads)),
        grid=draw(st.sampled_from([Grid(2, 2), Grid(3, 3)])),
        patch_size=draw(st.sampled_from([(1, 1), (3, 3)])),
        cls_token=True,
        head_eps=1e-5,
        mask_text_padding=False,
    )


def both(tiny: Tiny, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Any, FlavaForPreTraining]:
    theirs = torch_multimodal(tiny, seed, dtype)
    return theirs, tiny.ours(theirs.state_dict(), "torchmultimodal", dtype)


def compare(tiny: Tiny, seed: int, combination: dict[str, Any], theirs: Any, ours: Any, tolerance: Tolerance) -> None:
    dtype = next(ours.parameters()).dtype
    inputs = batch(tiny, seed, **combination, dtype=dtype)
    view = coloured_cells(tiny, seed).to(dtype)
    if "pixel_values" in inputs:
        inputs["mim_labels"] = theirs.image_codebook(view).flatten(1)
    if "input_ids" in inputs:
        inputs["attention_mask"] = inputs["input_ids"] != PAD
    match = inputs.get("itm_labels")
    expected = output_of(theirs, inputs, view)
    actual = ours(**inputs)
    found = {name: expected.losses[f"{name}_loss"] for name in LOSSES}
    # Without match labels the reference reports a loss of zero, and ours none.
    found = {name: value for name, value in found.items() if value is not None and (name != "itm" or match is not None)}
    assert set(found) == set(actual.losses)
    for name, value in found.items():
        assert_close(value, actual.losses[name], tolerance.value, name)
        assert tiny.weights[name] > 0
    for name in LOSSES[:4]:
        if name in found:
            assert_close(getattr(expected, f"{name}_output").logits, actual.logits[name], tolerance.value, name)
    if "global_contrastive" in found:
        rows = torch.ones(4).bool() if match is None or not tiny.weights["itm"] else match.bool()
        per_image, per_text = actual.logits["global_contrastive"]
        assert_close(expected.global_contrastive_output.image_logits, per_image[rows], tolerance.value, "per image")
        assert_close(expected.global_contrastive_output.text_logits, per_text[rows], tolerance.value, "per text")
    if found:
        backward(sum(found.values()), theirs)
        backward(actual.loss, ours)
        exact = None
        if tolerance is SINGLE:
            exact, wide = in_double(theirs, inputs)
            losses = output_of(exact, wide, view).losses  # the same codes
            backward(sum(losses[f"{name}_loss"] for name in found), exact)
        assert_same_gradients(theirs, ours, "torchmultimodal", tolerance.gradient, exact)


def output_of(theirs: Any, inputs: dict[str, torch.Tensor], view: torch.Tensor) -> Any:
    """What torchmultimodal's model says of a batch under our names."""
    labels = inputs.get("mlm_labels")
    return theirs(
        image=inputs.get("pixel_values"),
        text=inputs.get("input_ids"),
        image_for_codebook=view if "pixel_values" in inputs else None,
        image_patches_mask=inputs.get("bool_masked_pos"),
        text_masked=inputs.get("input_ids_masked"),
        itm_labels=inputs.get("itm_labels"),
        mlm_labels=None if labels is None else labels.masked_fill(labels == IGNORE, -1),
    )


@pytest.mark.usefixtures("_torch_layer_norm")
@settings(drawn, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tiny=said_to_both(), seed=seeds)
def test_every_loss_and_gradient(tiny: Tiny, seed: int) -> None:
    theirs, ours = both(tiny, seed)
    for combination in [*UNIMODAL, *PAIRS]:
        compare(tiny, seed, combination, theirs, ours, EXACT)


@pytest.mark.usefixtures("_torch_layer_norm")
@settings(drawn, max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tiny=said_to_both(), seed=seeds)
def test_every_loss_and_gradient_in_single_precision(tiny: Tiny, seed: int) -> None:
    theirs, ours = both(tiny, seed, torch.float32)
    for combination in [*UNIMODAL, PAIRS[2]]:
        compare(tiny, seed, combination, theirs, ours, SINGLE)


@pytest.mark.usefixtures("_torch_layer_norm")
@settings(drawn, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tiny=said_to_both(), seed=seeds, pads=st.booleans())
def test_states_of_all_passes(tiny: Tiny, seed: int, pads: bool) -> None:
    theirs, ours = both(tiny, seed)
    inputs = batch(tiny, seed, pads=pads, labels=False)
    inputs["attention_mask"] = inputs["input_ids"] != PAD
    expected = theirs.model(
        image=inputs["pixel_values"],
        text=inputs["input_ids"],
        image_patches_mask=inputs["bool_masked_pos"],
        text_masked=inputs["input_ids_masked"],
        skip_unmasked_mm_encoder=False,
    )
    actual = ours(**inputs, passes=PASSES, output_hidden_states=True, output_attentions=True)
    for name in PASSES:
        assert_same_states(getattr(expected, name), getattr(actual, name), EXACT.value, name)
        for kind in ("hidden_states", "attentions"):
            for one, other in zip(
                getattr(getattr(expected, name), kind), getattr(getattr(actual, name), kind), strict=True
            ):
                assert_close(one, other, EXACT.value, f"{kind} of {name}")
    shared = ours.losses["global_contrastive"]
    image, text = (getattr(actual, name).last_hidden_state[:, 0] for name in ("image", "text"))
    assert_close(expected.projected_image_embeddings, shared.image_projection(image), EXACT.value, "image")
    assert_close(expected.projected_text_embeddings, shared.text_projection(text), EXACT.value, "text")


@settings(drawn, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tiny=said_to_both(), seed=seeds)
def test_weights_travel_both_ways_and_none_is_left_over(tiny: Tiny, seed: int) -> None:
    theirs, ours = both(tiny, seed, torch.float32)
    again = torch_multimodal(tiny, seed + 1, torch.float32)
    again.load_state_dict(from_ours(ours.state_dict(), "torchmultimodal"), strict=True)
    for name, value in theirs.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
