"""The batches of a run: what each kind holds, and that a step decides its batch."""

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flava_parts.codebooks.specs import KMeansSpec
from flava_parts.data.loader import Batches
from flava_parts.data.sources.emoji import Emoji
from flava_parts.data.sources.specs import EmojiSpec, GlossesSpec
from flava_parts.data.specs import DataSpec, StreamSpec
from flava_parts.encoders.specs import ViTSpec
from flava_parts.errors import InputError
from flava_parts.spec import FlavaSpec

TEXT = {"input_ids", "attention_mask", "token_type_ids", "special_tokens_mask"}
IMAGE = {"pixel_values", "codebook_pixel_values"}
MODEL = FlavaSpec(image_encoder=ViTSpec(image_size=64, patch_size=16), codebook=KMeansSpec(image_size=32, patch_size=8))
DATA = DataSpec(
    streams={
        "pairs": StreamSpec(source=EmojiSpec(), ratio=2.0),
        "pictures": StreamSpec(source=EmojiSpec(), use="images", losses=("mim",), batch_size=3),
        "texts": StreamSpec(source=GlossesSpec(), use="texts", losses=("mlm",)),
    }
)
BATCHES = Batches(data=DATA, model=MODEL, batch_size=4, seed=0)


def first_step(stream: str, batches: Batches = BATCHES) -> int:
    return next(step for step in range(1000) if batches._mixture.turn(step).stream == stream)


def test_each_stream_holds_what_it_uses() -> None:
    """pairs: both; images: pictures only; texts: texts only; each with its own batch size and losses."""
    fields = {"pairs": TEXT | IMAGE, "pictures": IMAGE, "texts": TEXT}
    rows = {"pairs": 4, "pictures": 3, "texts": 4}
    losses = {"pairs": None, "pictures": ("mim",), "texts": ("mlm",)}
    for name in DATA.streams:
        batch = BATCHES.batch(first_step(name))

        assert (name, losses[name], fields[name]) == (batch.stream, batch.losses, set(batch.tensors))
        assert {rows[name]} == {len(tensor) for tensor in batch.tensors.values()}


def test_views_have_the_models_sizes() -> None:
    tensors = BATCHES.batch(first_step("pairs")).tensors

    assert tensors["pixel_values"].shape == (4, 3, 64, 64)
    assert tensors["codebook_pixel_values"].shape == (4, 3, 32, 32)


def test_without_a_codebook_there_is_no_view_for_it() -> None:
    batches = Batches(data=DATA, model=MODEL.model_copy(update={"codebook": None}), batch_size=4, seed=0)

    assert "codebook_pixel_values" not in batches.batch(first_step("pairs", batches)).tensors


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=4))
@settings(deadline=None, max_examples=10)
def test_a_step_decides_its_batch(steps: list[int]) -> None:
    """Bit for bit, whatever was asked before: a resumed run goes on as if it had not stopped."""
    fresh = Batches(data=DATA, model=MODEL, batch_size=4, seed=0)
    for step in steps:
        expected, actual = BATCHES.batch(step), fresh.batch(step)

        assert expected.stream == actual.stream
        assert expected.tensors.keys() == actual.tensors.keys()
        assert all(torch.equal(expected.tensors[name], actual.tensors[name]) for name in actual.tensors)


def test_seeds_differ() -> None:
    other = Batches(data=DATA, model=MODEL, batch_size=4, seed=1)
    first, second = (batches.batch(first_step("pairs", batches)) for batches in (BATCHES, other))

    assert not torch.equal(first.tensors["pixel_values"], second.tensors["pixel_values"])


def test_an_epoch_shows_every_drawing_once() -> None:
    """1,847 pairs in batches of 500: three batches, 1,500 different drawings."""
    data = DataSpec(streams={"pairs": StreamSpec(source=EmojiSpec(tags=0))})
    batches = Batches(data=data, model=MODEL, batch_size=500, seed=0)
    drawn = [index for number in range(3) for index in batches._orders["pairs"].batch(number)]

    assert len(set(drawn)) == 1500


def test_pictures_and_texts_of_a_row_belong_together() -> None:
    """Without crop, flip and tags, each row is one sample's picture and caption."""
    views = DATA.views.model_copy(update={"crop_scale": (1.0, 1.0), "flip": 0.0})
    data = DataSpec(streams={"pairs": StreamSpec(source=EmojiSpec(tags=0))}, views=views)
    batches = Batches(data=data, model=MODEL, batch_size=6, seed=3)
    tensors, source = batches.batch(0).tensors, Emoji()
    samples = [source.sample(index) for index in batches._orders["pairs"].batch(0)]

    assert torch.equal(batches._tokenizer([sample.text for sample in samples]).input_ids, tensors["input_ids"])
    assert torch.equal(batches._views([sample.image for sample in samples]).pixel_values, tensors["pixel_values"])


def test_a_source_named_twice_is_opened_once() -> None:
    assert BATCHES._sources["pairs"] is BATCHES._sources["pictures"]


def test_codebooks_are_fitted_on_the_runs_own_pictures() -> None:
    """As many as asked, different ones, the same at every call; each source once, texts not at all."""
    some, more = BATCHES.codebook_pixels(20), BATCHES.codebook_pixels(5000)

    assert (some.shape, more.shape) == ((20, 3, 32, 32), (1847, 3, 32, 32))
    assert torch.equal(some, more[:20])
    assert 0.1 <= float(more.min()) < float(more.max()) <= 0.9 + 1e-6
    assert len(more.flatten(1).unique(dim=0)) > 1800


def test_a_batch_that_a_source_cannot_fill_is_located() -> None:
    data = DataSpec(streams={"few": StreamSpec(source=EmojiSpec(split="held_out"))})
    with pytest.raises(InputError) as caught:
        Batches(data=data, model=MODEL, batch_size=256, seed=0)

    assert str(caught.value) == "data.streams.few: 205 samples make no batch of 256; make batch_size at most 205"


@pytest.mark.parametrize(("use", "what"), [("pairs", "picture"), ("images", "picture")])
def test_a_modality_that_a_source_lacks_is_named(use, what: str) -> None:
    data = DataSpec(streams={"glosses": StreamSpec(source=GlossesSpec(), use=use)})
    with pytest.raises(InputError, match=rf"glosses: sample \d+ has no {what}"):
        Batches(data=data, model=MODEL, batch_size=4, seed=0).batch(0)


def test_a_batch_of_256_pairs_is_ready_in_time() -> None:
    """Far below a training step of the shipped run; some 70 ms on one core, with room for a busy machine."""
    data = DataSpec(streams={"pairs": StreamSpec(source=EmojiSpec())})
    batches = Batches(data=data, model=MODEL, batch_size=256, seed=0)
    for number in range(7):
        batches.batch(number)  # every picture is decoded once
    times = []
    for number in range(7, 10):
        start = time.perf_counter()
        batches.batch(number)
        times.append(time.perf_counter() - start)

    assert min(times) < 0.4
