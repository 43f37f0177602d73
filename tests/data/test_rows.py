"""Which samples the rows of a batch are: one stream or several, as they come or by length."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flava_parts.data.order import Order
from flava_parts.data.rows import Row, Rows

SIZES = {"captions": 90, "alt_texts": 30}


def rows(batch_size: int = 10, *, streams=("captions", "alt_texts"), bucket: int | None = None, seed: int = 0) -> Rows:
    return Rows(
        orders={name: Order(size=SIZES[name], key=(seed, name)) for name in streams},
        ratios={"captions": 3.0, "alt_texts": 1.0},
        batch_size=batch_size,
        key=(seed,),
        bucket=bucket,
        length=length,
    )


def length(row: Row) -> int:
    """A length that looks arbitrary."""
    return row.sample * 7919 % 101


def test_one_stream_gives_its_order() -> None:
    order = Order(size=90, key=(0, "captions"))

    assert [Row("captions", *place) for place in order.batch(3, size=10)] == rows(streams=("captions",)).batch(3)


def test_streams_share_batches_by_their_ratios() -> None:
    """1,000 rows: each stream has its share, each batch holds both, and each stream's samples come in its own order."""
    drawn = [row for number in range(100) for row in rows().batch(number)]

    assert Counter(captions=750, alt_texts=250) == Counter(row.stream for row in drawn)
    for name, size in SIZES.items():
        mine = [row for row in drawn if row.stream == name]
        assert [Row(name, *place) for place in Order(size=size, key=(0, name)).batch(0, size=len(mine))] == mine


@pytest.mark.parametrize("bucket", [None, 4])
@given(number=st.integers(0, 10**7))
def test_a_batch_depends_on_nothing_asked_before(bucket: int | None, number: int) -> None:
    used = rows(bucket=bucket)
    used.batch(3)

    assert rows(bucket=bucket).batch(number) == used.batch(number)


@given(bucket=st.integers(1, 9), seed=st.integers(0, 100))
def test_sorting_by_length_moves_samples_between_batches_and_loses_none(bucket: int, seed: int) -> None:
    """A window of sorted batches holds what the unsorted window holds; hence every epoch has each sample once."""
    plain, sorted_ = (rows(bucket=size, seed=seed) for size in (None, bucket))
    for window in range(2):
        numbers = range(window * bucket, (window + 1) * bucket)
        expected, actual = ([row for number in numbers for row in some.batch(number)] for some in (plain, sorted_))

        assert Counter(expected) == Counter(actual)


def test_texts_of_like_length_share_a_batch() -> None:
    """Within a window the batches' ranges of length do not overlap; the batches do not come sorted."""
    sorted_ = rows(10, streams=("captions",), bucket=9)
    ranges = [(min(map(length, batch)), max(map(length, batch))) for batch in map(sorted_.batch, range(9))]
    inorder = sorted(ranges)

    assert all(before[1] <= after[0] for before, after in pairwise(inorder))
    assert ranges != inorder


def test_epochs_are_counted() -> None:
    """How often a stream's samples came, as a fraction: 75 of 90 captions and 25 of 30 alt texts in 100 rows, about."""
    epochs = rows().epochs(99)

    assert {"captions": 750 / 90, "alt_texts": 250 / 30} == epochs
    assert {"captions": 20 / 90} == rows(streams=("captions",)).epochs(1)
