"""The order of samples: each once in an epoch, any batch without those before it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flava_parts.data.order import Order
from flava_parts.errors import InputError

SIZES = st.integers(1, 60).flatmap(lambda size: st.tuples(st.just(size), st.integers(1, size)))


@given(SIZES, st.integers(0, 2**62))
def test_an_epoch_has_each_sample_at_most_once(sizes: tuple[int, int], seed: int) -> None:
    size, batch_size = sizes
    order = Order(size=size, batch_size=batch_size, key=(seed,))
    for epoch in range(2):
        first = epoch * order.batches_per_epoch
        drawn = [index for number in range(order.batches_per_epoch) for index in order.batch(first + number)]

        assert len(set(drawn)) == len(drawn) == size // batch_size * batch_size
        assert set(drawn) <= set(range(size))


@given(SIZES, st.lists(st.integers(0, 10**9), min_size=1, max_size=6))
def test_a_batch_depends_on_nothing_asked_before(sizes: tuple[int, int], numbers: list[int]) -> None:
    order = Order(size=sizes[0], batch_size=sizes[1], key=(7, "pairs"))
    in_a_row = [order.batch(number) for number in numbers]

    assert in_a_row == [Order(size=sizes[0], batch_size=sizes[1], key=(7, "pairs")).batch(number) for number in numbers]


def test_epochs_and_keys_differ() -> None:
    order, other = (Order(size=50, batch_size=50, key=(0, name)) for name in ("a", "b"))

    assert order.batch(0) != order.batch(1)
    assert order.batch(0) != other.batch(0)


def test_a_batch_larger_than_the_source_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        Order(size=205, batch_size=256, key=())

    assert str(caught.value) == "205 samples make no batch of 256; make batch_size at most 205"
