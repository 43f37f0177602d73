"""Packing: every token once, no row too long, and every text as if it had a row of its own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flava_parts.compose import compose
from flava_parts.data.packing import pack
from flava_parts.encoders.specs import TextTransformerSpec, ViTSpec
from flava_parts.facts import IGNORE
from flava_parts.losses.specs import MLMSpec
from flava_parts.spec import FlavaSpec


def texts(lengths: list[int], seed: int = 0) -> dict[str, torch.Tensor]:
    """Texts of so many tokens, all ids different, every other one labelled."""
    shape = (len(lengths), max(lengths))
    keep = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    ids = torch.where(
        keep, torch.randperm(shape[0] * shape[1], generator=torch.Generator().manual_seed(seed)).view(shape) + 1, 0
    )
    labels = torch.where(keep & (ids % 2 == 0), ids, IGNORE)
    return {"input_ids": ids, "input_ids_masked": ids, "mlm_labels": labels, "attention_mask": keep.long()}


@settings(max_examples=40)
@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=30), room=st.integers(20, 40))
def test_every_token_is_there_once_and_no_row_is_too_long(lengths: list[int], room: int) -> None:
    """The kept ids of all rows are those of all texts, each text in one piece, in its order."""
    given_texts = texts(lengths)
    packed = pack(given_texts, length=room)
    kept = packed["attention_mask"].diagonal(dim1=1, dim2=2)
    ids, keep = packed["input_ids"], given_texts["attention_mask"].bool()

    assert ids.shape[1] <= room
    assert sorted(given_texts["input_ids"][keep].tolist()) == sorted(ids[kept].tolist())
    assert int((given_texts["mlm_labels"] != IGNORE).sum()) == int((packed["mlm_labels"] != IGNORE).sum())
    rows = ids.tolist()
    for text, length in zip(given_texts["input_ids"].tolist(), lengths, strict=True):
        row = next(index for index, row in enumerate(rows) if text[0] in row)
        start = rows[row].index(text[0])
        assert text[:length] == rows[row][start : start + length]
        assert list(range(length)) == packed["position_ids"][row, start : start + length].tolist()
        square = packed["attention_mask"][row, start : start + length]
        assert square[:, start : start + length].all()
        assert length * length == int(square.sum())


@settings(max_examples=15)
@given(lengths=st.lists(st.integers(2, 12), min_size=2, max_size=8), seed=st.integers(0, 99))
def test_the_loss_is_that_of_rows_of_their_own(lengths: list[int], seed: int) -> None:
    """Masked language modelling over packed texts: same loss, same gradients."""
    small = {"width": 8, "depth": 2, "heads": 2}
    spec = FlavaSpec(
        image_encoder=ViTSpec(image_size=16, patch_size=8, **small),
        text_encoder=TextTransformerSpec(vocab_size=128, length=24, init_std=0.3, **small),
        fusion=None,
        codebook=None,
        image_masker=None,
        text_masker=None,
        pair_masker=None,
        losses={"mlm": MLMSpec(init_std=0.3)},
    )
    model = compose(spec).double()
    apart = texts(lengths, seed)
    found = []
    for batch in (apart, pack(apart, length=24)):
        model.zero_grad()
        loss = model(**batch, output_states=False).losses["mlm"]
        loss.backward()
        found.append((loss, {name: value.grad for name, value in model.named_parameters() if value.grad is not None}))

    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-12, atol=1e-12)
    assert found[0][1].keys() == found[1][1].keys()
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(gradient, found[1][1][name], rtol=1e-9, atol=1e-12)


def test_a_text_that_is_too_long_is_told() -> None:
    with pytest.raises(ValueError, match="a text of 9 tokens does not fit into rows of 8"):
        pack(texts([9, 2]), length=8)


def test_rows_are_of_a_multiple() -> None:
    """What is filled up so is padding like any other."""
    packed = pack(texts([5, 4, 9, 3, 2], seed=0), length=32, multiple=16)

    assert (1, 32) == packed["input_ids"].shape
    assert 23 == int(packed["attention_mask"].diagonal(dim1=1, dim2=2).sum())
