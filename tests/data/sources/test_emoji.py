"""The shipped emoji: their number, their split, their captions."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flava_parts.data.sources.emoji import SAMPLES, Emoji
from flava_parts.data.sources.specs import EmojiSpec

TRAIN, UNTAGGED, HELD_OUT = Emoji(), Emoji(tags=0), Emoji(split="held_out")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_split_is_the_documented_one() -> None:
    """1,026 concepts by two vendors; 205 of them, drawn by a seed, are held out in one vendor's drawing only."""
    train = {TRAIN.sample(index).key for index in range(len(TRAIN))}
    held_out = [HELD_OUT.sample(index).key for index in range(len(HELD_OUT))]
    noto = {key.removeprefix("noto/") for key in train if key.startswith("noto/")}
    concepts = sorted(noto)
    random.Random(0).shuffle(concepts)

    assert (len(train), len(held_out), len(noto)) == (1847, 205, 1026)
    assert [f"twemoji/{concept}" for concept in concepts[:205]] == held_out
    assert {f"{vendor}/{concept}" for vendor in ("noto", "twemoji") for concept in concepts} == train | set(held_out)
    assert train.isdisjoint(held_out)


def test_six_groups_are_shipped() -> None:
    groups = {"smileys & emotion", "animals & nature", "food & drink", "travel & places", "activities", "objects"}

    assert groups == {record["group"] for record in TRAIN._records}


def test_held_out_captions_are_distinct() -> None:
    """So that retrieval of each drawing's own caption is well defined."""
    assert len({HELD_OUT.sample(index).text for index in range(len(HELD_OUT))}) == 205


@given(st.integers(0, 1846))
def test_pictures_are_64_by_64_with_transparency(index: int) -> None:
    sample = TRAIN.sample(index)
    assert sample.image is not None

    assert ((64, 64, 4), np.uint8) == (sample.image.shape, sample.image.dtype)
    assert sample.image is TRAIN.sample(index).image
    assert not sample.image.flags.writeable


@given(st.integers(0, 1846), st.sampled_from([TRAIN, UNTAGGED]), st.integers(0, 2**32))
def test_tags_follow_the_caption_when_drawn(index: int, source: Emoji, seed: int) -> None:
    """The caption is always there and first; then up to `tags` different tags of the record."""
    record = source._records[index]
    caption, text = source.sample(index).text, source.sample(index, seeded(seed)).text
    assert caption is not None
    assert text is not None
    assert len(text) == source.text_length(index, seeded(seed))

    assert record["caption"] == caption
    assert text.startswith(caption)
    rest = text[len(caption) :]
    drawn = rest.removeprefix(", ").split(", ") if rest else []
    assert len(set(drawn)) == len(drawn) <= source.tags
    assert set(drawn) <= set(record["tags"])
    assert text == source.sample(index, seeded(seed)).text


def test_every_number_of_tags_comes_up() -> None:
    index = next(i for i, record in enumerate(TRAIN._records) if len(record["tags"]) > 3)
    generator = seeded(0)
    counts = {TRAIN.sample(index, generator).text.count(", ") for _ in range(60)}  # type: ignore[union-attr]

    assert {0, 1, 2, 3} == counts


@pytest.mark.parametrize("vendor", ["noto", "twemoji"])
def test_the_same_concepts_come_from_both_vendors(vendor: str) -> None:
    keys = {TRAIN.sample(index).key for index in range(len(TRAIN))} | {
        HELD_OUT.sample(index).key for index in range(len(HELD_OUT))
    }

    assert sum(key.startswith(f"{vendor}/") for key in keys) == 1026


def test_licences_lie_beside_the_data() -> None:
    readme = (SAMPLES / "README.md").read_text()

    for word in ("Apache-2.0", "CC-BY 4.0", "re-encoded from PNG to lossless WebP", "WordNet 3.0 licence", "MIT"):
        assert word in readme
    for name in ("APACHE-2.0.txt", "emojibase-data-MIT.txt", "wordnet-3.0.txt"):
        assert f"licences/{name}" in readme
        assert (SAMPLES / "licences" / name).stat().st_size > 1000


def test_the_spec_builds_it() -> None:
    assert len(EmojiSpec(split="held_out").build()) == 205
