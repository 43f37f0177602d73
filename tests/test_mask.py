"""What `mask` draws for batches that come with some of it already."""

from __future__ import annotations

import pytest
import torch
from tiny_batches import tiny_model
from torch import Tensor

from flava_parts.facts import IGNORE
from flava_parts.maskers.mismatch import MismatchMasker

B, L = 6, 9


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(104, 30000, (B, L), generator=generator)
    hidden = torch.rand(B, L, generator=generator) < 0.4
    return {
        "input_ids": ids,
        "input_ids_masked": torch.where(hidden, 103, ids),
        "mlm_labels": torch.where(hidden, ids, IGNORE),
        "attention_mask": (torch.arange(L) < torch.arange(4, 4 + B)[:, None]).long(),
        "pixel_values": torch.randn(B, 3, 32, 32, generator=generator),
        "codebook_pixel_values": torch.rand(B, 3, 16, 16, generator=generator),
    }


def test_a_text_that_moves_takes_its_mask_and_labels_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that was masked before, as by a processor, is mismatched as a whole, so that `itm_labels` stay true."""
    model, given = tiny_model(), batch()
    monkeypatch.setattr(model, "pair_masker", MismatchMasker(probability=1.0))
    found = model.mask(given, torch.Generator().manual_seed(0))
    rows = [int((given["input_ids"] == text).all(1).nonzero()) for text in found["input_ids"]]

    assert [0] * B == found["itm_labels"].tolist()
    assert all(row != image for image, row in enumerate(rows))
    for name in ("input_ids_masked", "mlm_labels", "attention_mask"):
        assert torch.equal(given[name][rows], found[name]), name


@pytest.mark.parametrize("rows", [1, 4])
def test_texts_that_share_a_row_are_masked_like_others(rows: int) -> None:
    """With an attention mask of each word (B, L, L), masks and labels are (B, L), and padding is never hidden."""
    ids = torch.randint(104, 30000, (rows, L), generator=torch.Generator().manual_seed(0))
    texts = torch.tensor([1, 1, 1, 2, 2, 2, 2, 0, 0])
    keep = ((texts[:, None] == texts) & (texts > 0)).expand(rows, L, L)
    found = tiny_model().mask({"input_ids": ids, "attention_mask": keep}, torch.Generator().manual_seed(0))

    assert (rows, L) == found["input_ids_masked"].shape == found["mlm_labels"].shape
    assert (found["mlm_labels"][:, 7:] == IGNORE).all()
    assert torch.isfinite(tiny_model()(**found).loss)


WRONG = {
    "a loss for pairs": ({"losses": ["itm"]}, ["pixel_values"], "itm was asked for, which is for image and text, but "),
    "no such pass": ({"passes": ["fused"]}, ["pixel_values"], "no pass named fused; there are image, image_masked, "),
    "short mask": (
        {"attention_mask": torch.ones(B, L - 1)},
        ["input_ids"],
        r"attention_mask is \(6, 8\), but the texts",
    ),
    "one mask for all": ({"attention_mask": torch.ones(1, L)}, ["input_ids"], r"attention_mask is \(1, 9\), but the "),
    "short labels": ({"mlm_labels": torch.ones(B, L - 1)}, ["input_ids"], r"mlm_labels is \(6, 8\), but the texts are"),
    "too many matches": (
        {"itm_labels": torch.ones(B + 1)},
        ["input_ids", "pixel_values"],
        r"itm_labels are \(7,\), but there are 6 pairs",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_inputs_that_do_not_fit_each_other(case: str) -> None:
    wrong, given, message = WRONG[case]
    inputs = {name: batch()[name] for name in given}
    with pytest.raises(ValueError, match=message):
        tiny_model()(**inputs | wrong)
