"""Given the same weights, transformers' FLAVA and ours say the same: outputs, losses, gradients."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from reference.oracles import (
    EXACT,
    LOSSES,
    PASSES,
    SINGLE,
    Tiny,
    Tolerance,
    Tower,
    assert_close,
    assert_same_gradients,
    assert_same_states,
    backward,
    batch,
    drawn,
    hugging_face,
    hugging_face_config,
    randomise,
    seeds,
    tinies,
)

from flava_parts.facts import Grid
from flava_parts.interop.keys import from_ours

MASKS = [
    {"masked": False, "labels": False},
    {"masked": True, "labels": False},
    {"masked": True, "labels": True},
    {"masked": True, "labels": True, "square_mask": True},
]
AROUND = [{"pads": pads, "token_types": types} for pads, types in product([False, True], repeat=2)]
MATCHES = [None, [1, 1, 1, 1], [0, 1, 1, 0]]
IMAGES = [{"image": True, "text": False, **mask} for mask in MASKS]
TEXTS = [{"image": False, "text": True, **mask, **around} for mask, around in product(MASKS[:3], AROUND)]
PAIRS = [{**mask, **around, "itm": itm} for mask, around, itm in product(MASKS, AROUND[::3], MATCHES)]


def transformers_output(model: Any, inputs: dict[str, torch.Tensor], **changes: Any) -> Any:
    """The reference's output. It writes into its labels, and insists on image labels wherever it is to give losses."""
    copies = {name: value.clone() for name, value in inputs.items()}
    labelled = "mlm_labels" in inputs or "mim_labels" in inputs
    return model(**copies, return_loss=labelled, skip_unmasked_multimodal_encoder=False, **changes)


def assert_same_output(theirs: Any, ours: Any, tolerance: Tolerance) -> None:
    for name in PASSES:
        expected, actual = theirs[f"{name}_output"], getattr(ours, name)
        assert (expected is None) == (actual is None), name
        if expected is not None:
            assert_same_states(expected, actual, tolerance.value, name)


def assert_same_losses(theirs: Any, ours: Any, tolerance: Tolerance) -> None:
    assert {name for name in LOSSES if theirs.loss_info[name] is not None} == set(ours.losses)
    for name, value in ours.losses.items():
        assert_close(theirs.loss_info[name], value, tolerance.value, name)
    if ours.losses:
        assert_close(theirs.loss, ours.loss, tolerance.value, "loss")


def assert_same_logits(theirs: Any, sparse: Any, dense: Any, inputs: dict[str, torch.Tensor], tolerance: Tolerance) -> None:
    """At labelled rows where there are labels, everywhere where there are none."""
    rows = inputs.get("itm_labels", torch.ones(4, dtype=torch.bool)).bool()
    for name in LOSSES[:4]:
        expected = theirs[f"{name}_logits"]
        everywhere = getattr(dense, f"{name}_logits")
        assert (expected is None) == (everywhere is None), name
        if expected is None:
            continue
        if name in sparse.losses:
            assert_close(expected, getattr(sparse, f"{name}_logits"), tolerance.value, name)
        else:
            assert getattr(sparse, f"{name}_logits") is None
            chosen = rows if name.startswith("mmm") else torch.ones_like(rows)
            assert_close(expected, everywhere[chosen], tolerance.value, name)
    if theirs.itm_logits is not None:
        assert_close(theirs.itm_logits, dense.itm_logits, tolerance.value, "itm")
    if theirs.contrastive_logits_per_image is not None:
        for way in ("contrastive_logits_per_image", "contrastive_logits_per_text"):
            chosen = rows if dense.itm_logits is not None else torch.ones_like(rows)
            assert_close(theirs[way], getattr(dense, way)[chosen], tolerance.value, way)


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
        for output in (sparse, dense):
            backward(expected.loss, theirs)
            backward(output.loss, ours)
            assert_same_gradients(theirs, ours, "transformers", tolerance.gradient)
            expected = transformers_output(theirs, inputs)


@drawn
@given(tiny=tinies(), seed=seeds)
def test_every_combination_of_inputs(tiny: Tiny, seed: int) -> None:
    if not tiny.cls_token:  # trap 10: the reference's slice of patches starts one late without a fusion summary
        tiny.weights["mmm_image"] = 0.0
    theirs = hugging_face(tiny, seed)
    ours = tiny.ours(theirs.state_dict(), "transformers")
    for combination in [*IMAGES, *TEXTS, *PAIRS]:
        compare(tiny, seed, combination, theirs, ours, EXACT)
