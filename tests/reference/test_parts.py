"""Laws of the parts, each built by its bare constructor, and of what the whole model runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.oracles import (
    EXACT,
    PASSES,
    Tiny,
    assert_close,
    batch,
    coloured_cells,
    drawn,
    hugging_face,
    randomise,
)
from torch import Tensor, nn

from flava_parts.encoders.text import TextTransformer
from flava_parts.encoders.vision import VisionTransformer
from flava_parts.facts import Grid, ImageTokens, TextTokens
from flava_parts.fusion.transformer import FusionTransformer
from flava_parts.layers.attention import keep_bias
from flava_parts.model import FlavaForPreTraining

SIZES: dict[str, Any] = {"depth": 2, "heads": 2, "mlp_width": 10}
IMAGE = ImageTokens(grid=Grid(2, 3), prefix=1, width=8)
TEXT = TextTokens(length=9, width=12, vocab_size=19)
TINY = Tiny(grid=Grid(2, 3))
seeds = st.integers(0, 10_000)
embeddings = st.sampled_from(["absolute", "relative_key", "relative_key_query"])


def ready(module: nn.Module) -> Any:
    randomise(module, 0)
    return module.double().eval()


def vision() -> VisionTransformer:
    return ready(VisionTransformer(image_size=(4, 6), patch_size=2, width=IMAGE.width, **SIZES))


def text(**choices: Any) -> TextTransformer:
    return ready(TextTransformer(vocab_size=TEXT.vocab_size, length=TEXT.length, width=TEXT.width, **SIZES, **choices))


def fusion(**choices: Any) -> FusionTransformer:
    return ready(FusionTransformer(image=IMAGE, text=TEXT, width=16, **SIZES, **choices))


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ids_of(seed: int, count: int = 3, length: int = 5) -> Tensor:
    return torch.randint(1, TEXT.vocab_size, (count, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@settings(drawn, max_examples=15)
@given(seed=seeds, extra=st.integers(1, 4), embedding=embeddings)
def test_more_padding_changes_no_real_word(seed: int, extra: int, embedding: str) -> None:
    encoder, ids = text(position_embedding=embedding), ids_of(seed)
    keep = nn.functional.pad(torch.ones_like(ids), (0, extra))
    padded = torch.cat([ids, ids_of(seed + 1, length=extra)], dim=1)
    assert_close(encoder(ids).pre_norm, encoder(padded, keep).pre_norm[:, :5], EXACT.value)


@torch.no_grad()
@settings(drawn, max_examples=15)
@given(seed=seeds, extra=st.integers(1, 4), cls_token=st.booleans())
def test_more_padding_changes_no_real_token_of_a_pair(seed: int, extra: int, cls_token: bool) -> None:
    fused = fusion(cls_token=cls_token)
    image, words = random(seed, 3, IMAGE.length, IMAGE.width), random(seed + 1, 3, 5 + extra, TEXT.width)
    keep = (torch.arange(5 + extra) < 5).expand(3, -1)
    short, long = fused(image, words[:, :5]).pre_norm, fused(image, words, None, keep).pre_norm
    assert_close(short, long[:, : short.shape[1]], EXACT.value)


@torch.no_grad()
@settings(drawn, max_examples=15)
@given(order=st.permutations(range(4)), seed=seeds)
def test_the_order_of_a_batch_does_not_matter(order: list[int], seed: int) -> None:
    model = model_of()
    inputs = batch(TINY, seed, pads=True, token_types=True, itm=[0, 1, 1, 0])
    shuffled = {name: value[order] for name, value in inputs.items()}
    first, second = model(**inputs, passes=PASSES), model(**shuffled, passes=PASSES)
    for name in PASSES:
        assert_close(getattr(first, name).pre_norm[order], getattr(second, name).pre_norm, EXACT.value, name)
    for name, value in first.losses.items():
        assert_close(value, second.losses[name], EXACT.value, name)
    per_image = first.contrastive_logits_per_image[order][:, order]
    assert_close(per_image, second.contrastive_logits_per_image, EXACT.value)


@torch.no_grad()
@settings(drawn, max_examples=15)
@given(seed=seeds, hidden=st.lists(st.booleans(), min_size=6, max_size=6))
def test_pixels_behind_the_mask_do_not_leak(seed: int, hidden: list[bool]) -> None:
    encoder, pixels = vision(), random(seed, 2, 3, 4, 6)
    masked = torch.tensor(hidden).expand(2, -1)
    covered = masked.view(2, 1, 2, 3).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    other = torch.where(covered, random(seed + 1, 2, 3, 4, 6), pixels)
    assert torch.equal(encoder(pixels, masked).pre_norm, encoder(other, masked).pre_norm)
    if any(hidden):
        assert not torch.equal(encoder(pixels, masked).pre_norm, encoder(pixels).pre_norm)
    else:
        assert torch.equal(encoder(pixels, masked).pre_norm, encoder(pixels).pre_norm)
    assert torch.equal(encoder(pixels, masked).pre_norm, encoder(pixels, masked.view(2, 2, 3)).pre_norm)


@torch.no_grad()
@settings(drawn, max_examples=15)
@given(seed=seeds, kept=st.lists(st.booleans(), min_size=6, max_size=6), words=st.integers(1, 5))
def test_what_is_not_kept_has_no_influence_at_all(seed: int, kept: list[bool], words: int) -> None:
    fused, image, states = fusion(), random(seed, 2, 7, IMAGE.width), random(seed + 1, 2, 5, TEXT.width)
    image_keep = torch.tensor(kept).expand(2, -1)
    text_keep = (torch.arange(5) < words).expand(2, -1)
    seen = torch.cat([torch.ones(2, 2, dtype=torch.bool), image_keep, text_keep], dim=1)
    other_image = torch.where(seen[:, 1:8, None], image, random(seed + 2, 2, 7, IMAGE.width))
    other_states = torch.where(text_keep[..., None], states, random(seed + 3, 2, 5, TEXT.width))
    before = fused(image, states, image_keep, text_keep, output_attentions=True)
    after = fused(other_image, other_states, image_keep.long(), text_keep.long(), output_attentions=True)
    assert torch.equal(before.pre_norm[seen], after.pre_norm[seen])
    for weights in before.attentions:
        assert weights.masked_select(~seen[:, None, None]).abs().sum() == 0


@torch.no_grad()
def test_image_attention_mask_reaches_the_fusion() -> None:
    model = model_of()
    inputs = batch(TINY, 0, labels=False)
    keep = torch.ones(4, TINY.grid.size, dtype=torch.bool)
    keep[:, 0] = False
    output = model(**inputs, image_attention_mask=keep, passes=PASSES, output_attentions=True)
    for name, place in (("image", 1), ("image_masked", 1), ("multimodal", 2), ("multimodal_masked", 2)):
        for weights in getattr(output, name).attentions:
            assert weights[..., place].abs().max() == 0, name
            assert weights[..., place + 1].abs().min() > 0, name


@torch.no_grad()
def test_a_row_of_padding_stays_finite() -> None:
    ids, keep = ids_of(0), torch.tensor([[1] * 5, [0] * 5, [1] * 5])
    alone, beside = text()(ids[::2]).pre_norm, text()(ids, keep).pre_norm
    assert beside.isfinite().all()
    assert_close(alone, beside[::2], EXACT.value)
    with torch.autocast("cpu", torch.bfloat16):
        assert text().float()(ids, keep).pre_norm.isfinite().all()
    assert keep_bias(None, torch.float64) is None


@torch.no_grad()
def test_embedding_through_one_matrix_product_is_the_convolution() -> None:
    embedding, pixels = vision().patch_embedding, random(0, 2, 3, 4, 6)
    expected = embedding.projection(pixels).flatten(2).transpose(1, 2)
    assert_close(expected, embedding(pixels), EXACT.value)


@torch.no_grad()
def test_all_of_dropout_is_off_in_evaluation_and_on_in_training() -> None:
    rates = {"dropout": 0.5, "attention_dropout": 0.5}
    ids, pixels, image, words = ids_of(0), random(0, 2, 3, 4, 6), random(1, 2, 7, 8), random(2, 2, 5, 12)
    encoder = ready(VisionTransformer(image_size=(4, 6), patch_size=2, width=8, **SIZES, **rates))
    for part, given_, plain in (
        (encoder, (pixels,), vision()),
        (text(**rates), (ids,), text()),
        (fusion(**rates), (image, words), fusion()),
    ):
        assert torch.equal(plain(*given_).pre_norm, part(*given_).pre_norm)
        part.train()
        assert not torch.equal(part(*given_).pre_norm, part(*given_).pre_norm)


def test_attention_dropout_alone_is_on_where_weights_are_asked_for() -> None:
    encoder = text(attention_dropout=0.5).train()
    output = encoder(ids_of(0), output_attentions=True)
    assert any((weights == 0).any() for weights in output.attentions)


# ---------------------------------------------------------------------------------------- what runs, and what does not


def model_of() -> FlavaForPreTraining:
    return TINY.ours(hugging_face(TINY, 0).state_dict(), "transformers")


@contextmanager
def counted(model: FlavaForPreTraining) -> Iterator[Counter[str]]:
    """How often each slot and each head is called."""
    calls: Counter[str] = Counter()
    parts = {name: part for name, part in model.named_children() if name != "losses"} | dict(model.losses.items())
    hooks = [part.register_forward_pre_hook(lambda *_, name=name: calls.update([name])) for name, part in parts.items()]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize(
    ("combination", "asked", "expected"),
    [
        ({"text": False}, None, {"image_encoder": 1, "codebook": 1, "mim": 1}),
        ({"image": False}, None, {"text_encoder": 1, "mlm": 1}),
        ({}, ["global_contrastive"], {"image_encoder": 1, "text_encoder": 1, "global_contrastive": 1}),
        ({}, ["itm"], {"image_encoder": 1, "text_encoder": 1, "fusion": 1, "itm": 1}),
        ({}, ["mmm_text"], {"image_encoder": 1, "text_encoder": 1, "fusion": 1, "mmm_text": 1}),
        ({}, ["mmm_image"], {"image_encoder": 1, "text_encoder": 1, "fusion": 1, "codebook": 1, "mmm_image": 1}),
        (
            {},
            None,
            {"image_encoder": 1, "text_encoder": 1, "fusion": 1, "codebook": 1}
            | dict.fromkeys(("mmm_image", "mmm_text", "itm", "global_contrastive"), 1),
        ),
        ({}, [], {}),
        ({"masked": False, "labels": False}, None, {"image_encoder": 1, "text_encoder": 1, "global_contrastive": 1}),
    ],
)
def test_what_losses_read_decides_the_work(
    combination: dict[str, Any], asked: list[str] | None, expected: dict[str, int]
) -> None:
    model = model_of()
    pair = combination.get("text", True) and combination.get("image", True)
    inputs = batch(TINY, 0, **combination, itm=[0, 1, 1, 0] if pair else None)
    if inputs.pop("mim_labels", None) is not None:
        inputs["codebook_pixel_values"] = coloured_cells(TINY, 0)
    if combination.get("masked") is False:
        del inputs["itm_labels"]
    with counted(model) as calls:
        output = model(**inputs, losses=asked)
    assert expected == dict(calls)
    assert (output.loss is None) == (not output.losses)


def test_an_unmasked_pair_is_encoded_once_for_all_losses() -> None:
    model = model_of()
    inputs = batch(TINY, 0, masked=False, labels=False, itm=[0, 1, 1, 0])
    with counted(model) as calls:
        output = model(**inputs, passes=PASSES)
    assert {"image_encoder": 1, "text_encoder": 1, "fusion": 2, "itm": 1, "global_contrastive": 1} == dict(calls)
    assert output.image is output.image_masked
    assert output.text is output.text_masked


def test_scoring_runs_each_encoder_once() -> None:
    model = model_of()
    inputs = batch(TINY, 0)
    with counted(model) as calls:
        model.score_pairs(inputs["input_ids"], inputs["pixel_values"])
    assert {"image_encoder": 1, "text_encoder": 1, "fusion": 1} == dict(calls)


def test_encoding_fuses_only_if_it_is_to() -> None:
    model = model_of()
    inputs = batch(TINY, 0)
    with counted(model) as calls:
        encoded = model.encode(inputs["input_ids"], inputs["pixel_values"], fuse=False)
    assert {"image_encoder": 1, "text_encoder": 1} == dict(calls)
    assert encoded.multimodal is None


def test_pairs_of_which_only_the_masked_text_is_known_have_no_contrastive_loss() -> None:
    model = model_of()
    inputs = batch(TINY, 0, itm=[0, 1, 1, 0])
    del inputs["input_ids"]
    for dense in (False, True):
        assert {"mmm_image", "mmm_text", "itm"} == set(model(**inputs, output_logits=dense).losses)
    with pytest.raises(ValueError, match="no input_ids"):
        model(**inputs, losses=["global_contrastive"])


@pytest.mark.parametrize(
    ("asked", "inputs", "message"),
    [
        (["mim"], {"text": False, "labels": False}, "no mim_labels or codebook_pixel_values"),
        (["mlm"], {"image": False, "labels": False}, "no mlm_labels"),
        (["itm"], {}, "no itm_labels"),
        (["mlmm"], {}, "no loss named mlmm; the model has mim, mlm"),
    ],
)
def test_a_loss_that_is_asked_for_says_what_it_lacks(asked: list[str], inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_of()(**batch(TINY, 0, **inputs), losses=asked)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("pixel_values", (4, 1, 6, 9), r"pixels should be \(B, 3, H, W\)"),
        ("bool_masked_pos", (4, 5), r"there are \(4, 6\) image labels but \(4, 5\) patches in the mask"),
        ("image_attention_mask", (4, 7), r"keep should have one entry a patch, \(4, 6\)"),
        ("mim_labels", (4, 5), r"there are \(4, 5\) image labels but \(4, 6\) patches"),
    ],
)
def test_a_wrong_shape_is_named(name: str, shape: tuple[int, ...], message: str) -> None:
    inputs = batch(TINY, 0)
    wrong = torch.zeros(shape, dtype=inputs[name].dtype if name in inputs else torch.bool)
    with pytest.raises(ValueError, match=message):
        model_of()(**inputs | {name: wrong})
