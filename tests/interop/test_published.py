"""The numbers that transformers' own tests state for facebook/flava-full, where its weights are at hand.

`FLAVA_FULL` names a folder with the checkpoint, its processor, and COCO's picture 000000039769.jpg.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import flava_parts as fp
from flava_parts.facts import IGNORE

FOLDER = os.environ.get("FLAVA_FULL")
PICTURE = "000000039769.jpg"
TEXTS = ["a photo of a cat", "a photo of a dog"]
MASK = 103

pytestmark = pytest.mark.skipif(FOLDER is None, reason="FLAVA_FULL names no folder with facebook/flava-full")


@pytest.fixture(scope="module")
def model() -> Any:
    return fp.load_pretrained(str(FOLDER))


@pytest.fixture(scope="module")
def inputs() -> dict[str, Tensor]:
    """The batch of transformers' tests, masks drawn by its processor from Python's generator."""
    from PIL import Image
    from transformers import FlavaProcessor

    torch.manual_seed(1)
    random.seed(1)
    picture = Image.open(Path(str(FOLDER)) / PICTURE)
    batch = dict(
        FlavaProcessor.from_pretrained(FOLDER)(
            text=TEXTS,
            images=[picture, picture],
            padding="max_length",
            max_length=77,
            return_tensors="pt",
            return_codebook_pixels=True,
            return_image_mask=True,
        )
    )
    ids = batch["input_ids"]
    batch["input_ids_masked"], batch["mlm_labels"] = ids.clone(), torch.full_like(ids, IGNORE)
    batch["input_ids_masked"][0, 4:6] = MASK
    batch["mlm_labels"][0, 4:6] = ids[0, 4:6]
    return batch


def test_states(model: Any, inputs: dict[str, Tensor]) -> None:
    """The sums of the clean states."""
    names = ("input_ids", "pixel_values", "attention_mask", "token_type_ids")
    with torch.no_grad():
        encoded = model.encode(**{name: inputs[name] for name in names})

    assert pytest.approx(-1352.53540, abs=2e-2) == encoded.image.last_hidden_state.sum().item()
    assert pytest.approx(-198.98225, abs=2e-2) == encoded.text.last_hidden_state.sum().item()
    assert pytest.approx(-4030.4604492, abs=5e-2) == encoded.multimodal.last_hidden_state.sum().item()


@pytest.mark.parametrize(("itm", "loss", "mmm_image"), [(None, 11.3792324, 7.0282096), ([1, 0], 9.6084213, 6.8965902)])
def test_losses(model: Any, inputs: dict[str, Tensor], itm: list[int] | None, loss: float, mmm_image: float) -> None:
    """Without and with a mismatched pair; the masked words are those of the matched one."""
    labels = {} if itm is None else {"itm_labels": torch.tensor(itm)}
    with torch.no_grad():
        output = model(**inputs, **labels)

    expected = torch.tensor([[16.1291, 8.4033], [16.1291, 8.4033]])
    torch.testing.assert_close(output.contrastive_logits_per_image, expected, atol=1e-3, rtol=0)
    assert pytest.approx(2.0727925, abs=1e-4) == output.losses["mmm_text"].item()
    assert pytest.approx(mmm_image, abs=1e-4) == output.losses["mmm_image"].item()
    assert pytest.approx(loss, abs=1e-4) == output.loss.item()


def test_before_padding_was_hidden_from_the_fusion(inputs: dict[str, Tensor]) -> None:
    """The numbers of before 2024, as it was trained: with ``mask_text_padding`` false."""
    model = fp.load_pretrained(str(FOLDER))
    model.fusion.mask_text_padding = False
    with torch.no_grad():
        output = model(**inputs)

    assert pytest.approx(1.75533199, abs=1e-4) == output.losses["mmm_text"].item()
    assert pytest.approx(7.0290069, abs=1e-4) == output.losses["mmm_image"].item()
    assert pytest.approx(11.0626, abs=1e-3) == output.loss.item()
