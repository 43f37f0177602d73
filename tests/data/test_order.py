"""The order of samples: each once in every epoch, any reading without those before it."""

import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flava_parts.data.order import Order, Place, check_batch
from flava_parts.errors import InputError

SIZES = st.integers(1, 60).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size)))


@given(SIZES, st.integers(0, 2**62))
def test_every_epoch_has_each_sample_exactly_once(sizes: tuple[int, int], seed: int) -> None:
    """Whatever the batch: what does not fill the last batch of an epoch is in the first of the next."""
    size, batch_size = sizes
    order = Order(size=size, key=(seed,))
    batches = -(-3 * size // batch_size)
    read = [place for number in range(batches) for place in order.batch(number, size=batch_size)][: 3 * size]

    assert Counter(Place(epoch, sample) for epoch in range(3) for sample in range(size)) == Counter(read)
    assert [number // size for number in range(3 * size)] == [place.epoch for place in read]


def test_an_epoch_of_100000() -> None:
    order = Order(size=100_000, key=(0,))
    for epoch in (0, 7):
        places = order.places(np.arange(100_000) + epoch * 100_000)

        assert list(range(100_000)) == sorted(place.sample for place in places)


@given(SIZES, st.lists(st.integers(0, 10**9), min_size=1, max_size=6))
def test_a_batch_depends_on_nothing_asked_before(sizes: tuple[int, int], numbers: list[int]) -> None:
    size, batch_size = sizes
    order = Order(size=size, key=(7, "pairs"))
    in_a_row = [order.batch(number, size=batch_size) for number in numbers]

    assert in_a_row == [Order(size=size, key=(7, "pairs")).batch(number, size=batch_size) for number in numbers]


def test_any_place_among_a_thousand_million_is_reached_at_once() -> None:
    """Sample 10^8 of the third epoch of 10^9: less than a second."""
    began = time.perf_counter()
    order = Order(size=10**9, key=(0,))
    places = order.places(np.arange(2 * 10**9 + 10**8, 2 * 10**9 + 10**8 + 256))

    assert time.perf_counter() - began < 1
    assert {2} == {place.epoch for place in places}
    assert len({place.sample for place in places}) == 256


def test_epochs_and_keys_differ() -> None:
    order, other = (Order(size=50, key=(0, name)) for name in ("a", "b"))
    samples = [[place.sample for place in one.batch(number, size=50)] for one in (order, other) for number in (0, 1)]

    assert len(set(map(tuple, samples))) == 4


def test_a_batch_larger_than_the_source_is_refused() -> None:
    check_batch(256, 256)
    with pytest.raises(InputError) as caught:
        check_batch(205, 256)

    assert str(caught.value) == "205 samples make no batch of 256; make batch_size at most 205"
