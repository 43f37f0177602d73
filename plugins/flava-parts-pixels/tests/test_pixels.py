"""Colour codes: the codes themselves, the kind's contract, and a run of a few steps."""

from __future__ import annotations

from pathlib import Path

import flava_parts_pixels
import pytest
import torch
from flava_parts_pixels.colour import ColourCodes
from flava_parts_pixels.specs import ColourCodesSpec

import flava_parts as fp
from flava_parts.errors import InputError, SpecError
from flava_parts.facts import Codes, Grid
from flava_parts.testing import check_part

REGISTRY = fp.load_registry(plugins=[flava_parts_pixels])

SHORT = ["train.steps=3", "train.batch_size=4", "evaluate.retrieval=null"]
SHORT += [f"data.streams.{name}.batch_size=4" for name in ("paired", "images", "texts")]


def test_a_colour_has_its_number() -> None:
    """The channels' steps are the digits of the code, red the lowest; by hand, with three levels."""
    pixels = torch.tensor([[0.0, 0.5, 1.0, 1.0], [0.0, 0.0, 0.5, 1.0], [0.0, 0.0, 0.0, 1.0]]).view(1, 3, 2, 2)
    codes = ColourCodes(image_size=2, patch_size=1, levels=3)(pixels)

    assert [[0, 1, 2 + 3 * 1, 2 + 3 * 2 + 9 * 2]] == codes.tolist()


def test_a_patch_has_its_mean_colour() -> None:
    """Codes follow the order of the patches, row by row, and only the mean of each counts."""
    pixels = torch.zeros(1, 3, 4, 6)
    pixels[:, :, :2, 2:4] = torch.tensor([[0.0, 2.0], [2.0, 0.0]])  # mean 1 on the scale of 0 to 1
    codes = ColourCodes(image_size=(4, 6), patch_size=2, levels=2)(pixels)

    assert [[0, 7, 0, 0, 0, 0]] == codes.tolist()


def test_the_spec_states_what_comes_out() -> None:
    """The kind's contract, by the conformance suite; and the facts by hand."""
    spec = ColourCodesSpec(image_size=(16, 24), patch_size=8, levels=4)

    assert Codes(Grid(2, 3), 64) == spec.codes
    assert [] == [str(check) for check in check_part(spec).failed]


def test_loading_a_checkpoint_leaves_it_ready() -> None:
    """There is nothing to load, and nothing that a checkpoint could lack."""
    codebook = ColourCodes(image_size=8, patch_size=8)
    codebook.load_state_dict({})

    assert (1, 1) == codebook(torch.rand(1, 3, 8, 8)).shape


def test_wrong_input_says_so() -> None:
    """Patches that do not tile the image, and pixels of another size."""
    with pytest.raises(SpecError, match="patches of 8 pixels do not tile a side of 12"):
        fp.load_spec({"base": "flava.tiny", "codebook": {"type": "pixels.colour", "image_size": 12}}, registry=REGISTRY)
    with pytest.raises(InputError, match=r"pixels of shape \(B, 3, 8, 8\)"):
        ColourCodes(image_size=8, patch_size=8)(torch.rand(1, 3, 4, 4))


def test_the_emoji_run_trains(tmp_path: Path) -> None:
    """A few steps of the preset, from file to checkpoint."""
    from flava_parts.train.run import run

    spec = fp.load_run("pixels.emoji", registry=REGISTRY, set=SHORT)

    assert 3 == run(spec, tmp_path, registry=REGISTRY).step
