"""Rows to samples: keyed draws, and replacements that depend on nothing else."""

from __future__ import annotations

import pytest
from data.made_up import MadeUpSpec

from flava_parts.data.reader import Reader
from flava_parts.data.rows import Row
from flava_parts.data.sources.bad_sample import BadSampleError
from flava_parts.data.sources.specs import GlossesSpec
from flava_parts.errors import InputError

BAD = MadeUpSpec(size=60, bad_every=4)


def reader(spec=BAD, on_error="skip", use="pairs", seed: int = 0) -> Reader:
    return Reader(sources={"s": spec.build()}, uses={"s": use}, seed=seed, on_error=on_error)


def test_what_is_drawn_follows_from_seed_epoch_and_sample() -> None:
    """Whatever was read before; another epoch or seed draws something else."""
    used = reader()
    used(Row("s", 0, 2))
    texts = [one(row).sample.text for one, row in ((used, Row("s", 0, 8)), (reader(), Row("s", 0, 8)))]
    others = {reader()(Row("s", 1, 8)).sample.text, reader(seed=1)(Row("s", 0, 8)).sample.text}

    assert texts[0] == texts[1]
    assert texts[0] not in others


@pytest.mark.parametrize("on_error", ["skip", "quarantine"])
def test_a_bad_sample_is_replaced_and_told(on_error: str) -> None:
    """By the same good one in every reader, whatever was read before; another epoch has another replacement."""
    used = reader(on_error=on_error)
    before = [used(Row("s", 0, sample)) for sample in range(60)]
    again = [used(Row("s", 0, sample)) for sample in range(60)]
    fresh = [reader()(Row("s", 0, sample)) for sample in range(60)]
    later = [reader()(Row("s", 1, sample)) for sample in range(60)]

    assert [(read.row, read.bad, read.sample.text) for read in fresh] == [
        (read.row, read.bad, read.sample.text) for read in before
    ]
    assert [(read.row, read.bad) for read in before] == [(read.row, read.bad) for read in again]
    assert [read.row.sample for read in fresh] != [read.row.sample for read in later]
    for sample, read in enumerate(fresh):
        assert (sample % 4 == 1) == bool(read.bad)
        assert read.row.sample % 4 != 1
        if read.bad:
            first = read.bad[0]
            assert ("s", sample, "made-up", str(sample)) == (first.stream, first.sample, first.source, first.key)


def test_the_quarantined_are_not_read_again() -> None:
    for on_error, count in (("skip", 2), ("quarantine", 1)):
        used, watched = reader(on_error=on_error), []
        used.watch = watched.append
        for _ in range(2):
            used(Row("s", 0, 5))

        assert count == watched.count(Row("s", 0, 5))


def test_errors_are_raised_where_that_is_asked_for() -> None:
    with pytest.raises(BadSampleError, match="made-up: 5 is bad-utf-8"):
        reader(on_error="raise")(Row("s", 0, 5))


def test_a_source_without_a_good_sample_is_an_error() -> None:
    """And so is one that lacks what is used of it; no endless search."""
    with pytest.raises(InputError, match=r"data\.streams\.s: 101 samples drawn in a row are bad, the last because"):
        reader(GlossesSpec(), use="images")(Row("s", 0, 1))


@pytest.mark.parametrize("use", ["pairs", "images"])
def test_a_sample_that_lacks_what_is_used_is_bad(use: str) -> None:
    with pytest.raises(BadSampleError, match="s: sample 3 has no picture") as caught:
        reader(GlossesSpec(), use=use, on_error="raise")(Row("s", 0, 3))

    assert "missing-picture" == caught.value.reason
    assert reader(GlossesSpec(), use="texts")(Row("s", 0, 3)).sample.text


def test_lengths_and_places() -> None:
    """A text's length is that of what will be drawn; a bad sample has none; a place is told without reading."""
    read = reader()

    assert len(read(Row("s", 2, 6)).sample.text or "") == read.length(Row("s", 2, 6))
    assert 0 == read.length(Row("s", 0, 5))
    assert "sample 5 of stream s (made-up-0.tar: 000005)" == read.place(Row("s", 0, 5))
    assert "sample 5 of stream s" == reader(GlossesSpec(), use="texts").place(Row("s", 0, 5))
