"""The batches of a run: what each kind holds, and that step and seed decide them, whoever asks."""

from __future__ import annotations

import pickle
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from data.made_up import MadeUpSpec, bad_numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from flava_parts.codebooks.specs import KMeansSpec
from flava_parts.compose import compose
from flava_parts.data.loader import Batch, Batches
from flava_parts.data.sources.emoji import Emoji
from flava_parts.data.sources.specs import EmojiSpec, GlossesSpec
from flava_parts.data.specs import DataSpec, MixtureSpec, StreamSpec
from flava_parts.encoders.specs import TextTransformerSpec, ViTSpec
from flava_parts.errors import InputError
from flava_parts.fusion.specs import FusionTransformerSpec
from flava_parts.inputs.specs import ViewsSpec, WordPieceSpec
from flava_parts.maskers.specs import BlockMaskerSpec, MismatchMaskerSpec
from flava_parts.spec import FlavaSpec

MODEL = FlavaSpec(
    image_encoder=ViTSpec(image_size=64, patch_size=16, width=16, depth=1, heads=2),
    text_encoder=TextTransformerSpec(width=16, depth=1, heads=2),
    fusion=FusionTransformerSpec(width=16, depth=1, heads=2),
    codebook=KMeansSpec(image_size=32, patch_size=8, vocab_size=16),
    image_masker=BlockMaskerSpec(total=6, min_group=2),
    pair_masker=MismatchMaskerSpec(probability=0.5),
)
TEXT = {"input_ids", "attention_mask", "token_type_ids"}
WORDS = {"input_ids_masked", "mlm_labels"}
PATCHES = {"codebook_pixel_values", "bool_masked_pos"}
STREAMS = {
    "pairs": StreamSpec(source=EmojiSpec(), ratio=2.0),
    "aligned": StreamSpec(source=EmojiSpec(), losses=("global_contrastive",)),
    "pictures": StreamSpec(source=EmojiSpec(), use="images", batch_size=3),
    "texts": StreamSpec(source=GlossesSpec(), use="texts", losses=("mlm",)),
}
DATA = DataSpec(streams=STREAMS)
BATCHES = Batches(data=DATA, model=MODEL, batch_size=4, seed=0)


def made(data: DataSpec = DATA, model: FlavaSpec = MODEL, batch_size: int = 4, **more: Any) -> Batches:
    return Batches(data=data, model=model, batch_size=batch_size, **{"seed": 0, **more})


def one_stream(name: str = "s", batch_size: int = 4, **stream: object) -> Batches:
    return made(DataSpec(streams={name: StreamSpec(**stream)}), batch_size=batch_size)


def first_step(stream: str, batches: Batches = BATCHES) -> int:
    return next(step for step in range(1000) if batches.batch(step).stream == stream)


def assert_equal(expected: Batch, actual: Batch) -> None:
    """Everything, bit for bit."""
    assert expected._replace(tensors={}) == actual._replace(tensors={})
    assert expected.tensors.keys() == actual.tensors.keys()
    for name, tensor in actual.tensors.items():
        assert torch.equal(expected.tensors[name], tensor), name


def test_each_stream_holds_what_it_uses() -> None:
    """Each with the masks and labels that its losses read, its own batch size and losses."""
    fields = {
        "pairs": TEXT | WORDS | PATCHES | {"pixel_values", "itm_labels"},
        "aligned": TEXT | {"pixel_values"},
        "pictures": PATCHES | {"pixel_values"},
        "texts": TEXT | WORDS,
    }
    for name, stream in DATA.streams.items():
        batch = BATCHES.batch(first_step(name))

        assert (name, stream.losses, fields[name]) == (batch.stream, batch.losses, set(batch.tensors))
        assert {stream.batch_size or 4} == {len(tensor) for tensor in batch.tensors.values()}


def test_what_is_masked_is_what_the_model_would_mask() -> None:
    """The model adds the same fields to a batch that has none of them, and none to one that has them all."""
    model = compose(MODEL)
    for name, stream in DATA.streams.items():
        tensors = BATCHES.batch(first_step(name)).tensors
        bare = {field: tensors[field] for field in tensors if field not in WORDS | {"bool_masked_pos", "itm_labels"}}

        assert tensors.keys() == model.mask(bare, torch.Generator(), losses=stream.losses).keys()
        assert tensors.keys() == model.mask(tensors, torch.Generator(), losses=stream.losses).keys()


def test_words_are_hidden_as_the_text_masker_has_it() -> None:
    """About 15 %, never special ones or padding, and labelled with what was there."""
    hidden = ordinary = 0
    batches = one_stream(source=GlossesSpec(), use="texts", batch_size=64)
    for step in range(20):
        tensors = batches.batch(step).tensors
        ids, labels = tensors["input_ids"], tensors["mlm_labels"]
        chosen = labels != -100
        special = torch.isin(ids, torch.tensor([0, 101, 102, 103]))

        assert not (chosen & special).any()
        assert torch.equal(ids[chosen], labels[chosen])
        assert torch.equal(ids[~chosen], tensors["input_ids_masked"][~chosen])
        hidden, ordinary = hidden + int(chosen.sum()), ordinary + int((~special).sum())

    assert abs(hidden / ordinary - 0.15) < 5 * (0.15 * 0.85 / ordinary) ** 0.5


def test_mismatched_rows_have_the_text_of_another_row() -> None:
    """And only they: the picture stays, the label says so."""
    batches = one_stream(source=MadeUpSpec(), batch_size=32)
    unmatched = Batches(data=batches._data, model=MODEL.model_copy(update={"pair_masker": None}), batch_size=32, seed=0)
    tensors, own = batches.batch(0).tensors, unmatched.batch(0).tensors
    width = min(tensors["input_ids"].shape[1], own["input_ids"].shape[1])
    same = (tensors["input_ids"][:, :width] == own["input_ids"][:, :width]).all(dim=1)

    assert torch.equal(tensors["pixel_values"], own["pixel_values"])
    assert torch.equal(tensors["itm_labels"], same.long())
    assert 0 < same.sum() < 32
    texts = {tuple(row[:width].tolist()) for row in own["input_ids"]}
    assert {tuple(row[:width].tolist()) for row in tensors["input_ids"]} <= texts


def test_maskers_follow_the_course_of_a_run() -> None:
    """Where their numbers change over the run, each step has the masks of that step."""

    class Growing:
        def masker(self, slot, step):
            return BlockMaskerSpec(total=2 + step, min_group=1, exact=True) if slot == "image_masker" else None

    data = DataSpec(streams={"images": StreamSpec(source=MadeUpSpec(), use="images")})
    batches = Batches(data=data, model=MODEL, batch_size=4, seed=0, course=Growing())

    for step in (0, 3):
        assert [2 + step] * 4 == batches.batch(step).tensors["bool_masked_pos"].sum(dim=1).tolist()


def test_views_have_the_models_sizes() -> None:
    tensors = BATCHES.batch(first_step("pairs")).tensors

    assert (4, 3, 64, 64) == tensors["pixel_values"].shape
    assert (4, 3, 32, 32) == tensors["codebook_pixel_values"].shape


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=4))
@settings(deadline=None, max_examples=10)
def test_a_step_decides_its_batch(steps: list[int]) -> None:
    """Bit for bit, whatever was asked before: a resumed run goes on as if it had not stopped."""
    fresh = made()
    for step in steps:
        assert_equal(BATCHES.batch(step), fresh.batch(step))


@pytest.mark.parametrize("backend", ["pil", "torchvision"])
def test_levels_become_the_same_pixels_on_the_device(backend: str) -> None:
    """A GPU gets a quarter of the bytes, and bit for bit what the CPU makes of them."""
    data = DATA.model_copy(update={"views": ViewsSpec.model_validate({"backend": backend, "mean": (0.4, 0.5, 0.6)})})
    plain, small = made(data), made(data, levels=True)
    step = first_step("pairs", plain)
    sent = pickle.loads(pickle.dumps(small)).batch(step)
    there = sent.on(torch.device("cpu"))

    assert {"pixel_values", "codebook_pixel_values"} == set(sent.tables)
    for name, expected in plain.batch(step).tensors.items():
        assert torch.equal(expected, there[name])
        assert sent.tensors[name].dtype == (torch.uint8 if name in sent.tables else expected.dtype)
        assert there[name].dtype == expected.dtype
    texts = small.batch(first_step("texts", small))
    assert {} == texts.tables
    assert set(texts.tensors) == set(texts.on(torch.device("cpu")))


def test_a_batch_is_the_same_in_another_process() -> None:
    """What is sent there is opened again, with what was quarantined."""
    assert_equal(BATCHES.batch(5), pickle.loads(pickle.dumps(BATCHES)).batch(5))


def test_torchs_own_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    for step in range(8):
        BATCHES.batch(step)
    BATCHES.codebook_pixels(5)

    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("bucket", [None, 3])
@pytest.mark.parametrize("world_size", [2, 4])
def test_the_number_of_processes_changes_no_row(world_size: int, bucket: int | None) -> None:
    """What the processes get, put together, is the batch of one process: pictures, texts of other rows, masks.

    Texts are padded to the longest of each process, so that what is beyond is padding.
    """
    streams = {
        "pairs": StreamSpec(source=MadeUpSpec(bad_every=7), ratio=2.0, bucket=bucket),
        "texts": StreamSpec(source=GlossesSpec(), use="texts", bucket=bucket),
    }
    data = DataSpec(streams=streams)
    whole = made(data, batch_size=8)
    parts = [made(data, batch_size=8, rank=rank, world_size=world_size) for rank in range(world_size)]
    fill = {"mlm_labels": -100}
    seen = set()
    for step in range(12):
        expected, found = whole.batch(step), [part.batch(step) for part in parts]
        seen.add(expected.stream)

        assert expected.bad == tuple(bad for part in found for bad in part.bad)
        for name, tensor in expected.tensors.items():
            rows = torch.full_like(tensor, fill.get(name, 0))
            for rank, part in enumerate(found):
                mine = part.tensors[name]
                size = len(mine)
                if name in TEXT | WORDS:
                    rows[rank * size : (rank + 1) * size, : mine.shape[1]] = mine
                else:
                    rows[rank * size : (rank + 1) * size] = mine
            assert torch.equal(tensor, rows), name
    assert {"pairs", "texts"} == seen


def test_a_batch_that_processes_cannot_share_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        made(world_size=2)

    assert (
        "data.streams.pictures: a batch of 3 cannot be shared by 2 processes; make batch_size a multiple of 2"
        == str(caught.value)
    )


def test_seeds_differ() -> None:
    first, second = (made(seed=seed).batch(0).tensors for seed in (0, 1))

    assert not torch.equal(first["pixel_values"], second["pixel_values"])


def test_an_epoch_shows_every_drawing_exactly_once() -> None:
    """1,847 drawings in batches of 500, two epochs: the batch between them holds the last of one, the first of the
    next; the metrics count."""
    batches = one_stream(source=EmojiSpec(tags=0), batch_size=500)
    rows = [row for number in range(8) for row in batches._groups["s"].rows.batch(number)]

    for epoch in (0, 1):
        assert dict.fromkeys(range(1847), 1) == Counter(row.sample for row in rows if row.epoch == epoch)
    assert 2000 / 1847 == batches.batch(3).metrics["epoch/s"]


def test_crops_and_captions_change_from_epoch_to_epoch() -> None:
    """And are the same at each reading of an epoch: two streams of a source see different ones."""
    batches = one_stream(source=MadeUpSpec(size=4), losses=("global_contrastive",))
    first, later = (batches.batch(number).tensors for number in (0, 1))
    order = [[row.sample for row in batches._groups["s"].rows.batch(number)] for number in (0, 1)]
    row = order[1].index(order[0][0])

    assert not torch.equal(first["pixel_values"][0], later["pixel_values"][row])
    assert not torch.equal(first["input_ids"][0, :4], later["input_ids"][row, :4])


def test_pictures_and_texts_of_a_row_belong_together() -> None:
    """Without crop, flip and tags, each row is one sample's picture and caption."""
    views = ViewsSpec(crop_scale=(1.0, 1.0), flip=0.0)
    stream = StreamSpec(source=EmojiSpec(tags=0), losses=("global_contrastive",))
    batches = made(DataSpec(streams={"pairs": stream}, views=views), batch_size=6, seed=3)
    tensors, source = batches.batch(0).tensors, Emoji()
    samples = [source.sample(row.sample) for row in batches._groups["pairs"].rows.batch(0)]

    assert torch.equal(batches._tokenizer([sample.text for sample in samples]).input_ids, tensors["input_ids"])
    assert torch.equal(batches._views([sample.image for sample in samples]).pixel_values, tensors["pixel_values"])


def test_streams_share_batches_by_example() -> None:
    """Streams that are used alike; others take turns. Shares follow ratio ** (1 / temperature)."""
    streams = {
        "large": StreamSpec(source=MadeUpSpec(size=400, name="large"), ratio=9.0),
        "small": StreamSpec(source=MadeUpSpec(size=100, name="small"), ratio=1.0),
        "glosses": StreamSpec(source=GlossesSpec(), use="texts", ratio=2.0),
    }
    data = DataSpec(streams=streams, mixture=MixtureSpec(by="example", temperature=2.0))
    batches = made(data, batch_size=8)
    drawn = [batches.batch(step) for step in range(30)]
    rows = [row.stream for number in range(125) for row in batches._groups["large+small"].rows.batch(number)]

    assert {"large+small", "glosses"} == {batch.stream for batch in drawn}
    assert Counter(large=750, small=250) == Counter(rows)
    assert {"epoch/large", "epoch/small"} <= set(next(b for b in drawn if b.stream != "glosses").metrics)


def test_padding_is_to_the_longest_and_a_multiple() -> None:
    """And the metrics tell its share."""
    stream = StreamSpec(source=GlossesSpec(), use="texts")
    for multiple in (1, 8):
        data = DataSpec(streams={"t": stream}, tokenizer=WordPieceSpec(length=32), pad_multiple=multiple)
        batches = made(data, batch_size=16)
        for step in range(5):
            batch = batches.batch(step)
            keep = batch.tensors["attention_mask"]
            longest = int(keep.sum(dim=1).max())

            assert min(-(-longest // multiple) * multiple, 32) == keep.shape[1]
            assert pytest.approx(1 - float(keep.sum()) / keep.numel()) == batch.metrics["padding"]


def test_a_multiple_that_the_longest_text_is_not_is_refused() -> None:
    """77 tokens are no multiple of 8."""
    with pytest.raises(ValidationError, match="8 does not divide the tokenizer's length, 77"):
        DataSpec(streams=STREAMS, pad_multiple=8)


def test_buckets_save_padding() -> None:
    """Texts of like length share a batch: less than half of the padding."""
    waste = []
    for bucket in (None, 20):
        batches = one_stream(source=GlossesSpec(), use="texts", batch_size=16, bucket=bucket)
        waste.append(np.mean([batches.batch(step).metrics["padding"] for step in range(20)]))

    assert waste[1] < waste[0] / 2


def test_packing_saves_padding_and_changes_no_loss() -> None:
    """The same words, hidden alike, in fewer rows."""
    apart, packed = (
        one_stream(source=GlossesSpec(), use="texts", batch_size=16, pack=pack).batch(3) for pack in (False, True)
    )
    model = compose(MODEL).double()
    losses = [model(**batch.tensors, output_states=False).losses["mlm"] for batch in (apart, packed)]

    assert apart.samples == packed.samples
    assert len(packed.tensors["input_ids"]) < len(apart.tensors["input_ids"]) / 2
    assert packed.metrics["padding"] < apart.metrics["padding"] / 2
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=1e-12)


def test_only_texts_are_packed() -> None:
    with pytest.raises(ValidationError, match="pairs have one sample a row; packing is for use: texts"):
        StreamSpec(source=EmojiSpec(), pack=True)


def test_bad_samples_are_replaced_and_counted() -> None:
    """Two epochs of a source of which 5 % are bad: each bad one is told in each epoch, by its reason."""
    spec = MadeUpSpec(size=300, bad_every=20)
    batches = one_stream(source=spec, batch_size=20)
    drawn = [batches.batch(step) for step in range(30)]
    counts = Counter()
    for batch in drawn:
        counts.update({name: n for name, n in batch.metrics.items() if name.startswith("bad/")})
    told = Counter(f"bad/{bad.reason}" for batch in drawn for bad in batch.bad)

    assert told == counts
    first = Counter(bad.sample for batch in drawn for bad in batch.bad)
    assert set(bad_numbers(spec)) == set(first)
    assert min(first.values()) >= 2
    assert all(len(batch.tensors["pixel_values"]) == 20 for batch in drawn)


def test_a_source_named_twice_is_opened_once() -> None:
    assert BATCHES._sources["pairs"] is BATCHES._sources["pictures"]


def test_codebooks_are_fitted_on_the_runs_own_pictures() -> None:
    """As many as asked, different ones, the same at every call; each source once, texts not at all."""
    some, more = BATCHES.codebook_pixels(20), BATCHES.codebook_pixels(5000)

    assert ((20, 3, 32, 32), (1847, 3, 32, 32)) == (some.shape, more.shape)
    assert torch.equal(some, more[:20])
    assert 0.1 <= float(more.min()) < float(more.max()) <= 0.9 + 1e-6
    assert len(more.flatten(1).unique(dim=0)) > 1800


def test_a_batch_that_a_source_cannot_fill_is_located() -> None:
    with pytest.raises(InputError) as caught:
        one_stream(name="few", source=EmojiSpec(split="held_out"), batch_size=256)

    assert "data.streams.few: 205 samples make no batch of 256; make batch_size at most 205" == str(caught.value)


def test_a_batch_of_256_pairs_is_ready_in_time() -> None:
    """Far below a training step of the shipped run; some 70 ms on one core, with room for a busy machine."""
    batches = one_stream(source=EmojiSpec(), batch_size=256)
    for number in range(8):
        batches.batch(number)  # every picture is decoded once
    times = []
    for number in range(8, 11):
        start = time.process_time()
        batches.batch(number)
        times.append(time.process_time() - start)

    assert min(times) < 0.4
