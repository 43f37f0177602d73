"""A permutation by formula: each number once, in constant memory, without structure that a test finds."""

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flava_parts.data.permutation import Permutation


@given(st.integers(1, 5000), st.integers(0, 2**62))
def test_each_number_comes_once(size: int, seed: int) -> None:
    found = Permutation(size=size, key=(seed,))(np.arange(size))

    assert np.array_equal(np.arange(size), np.sort(found))


@pytest.mark.parametrize("size", [2, 3, 5])
def test_every_permutation_is_likely(size: int) -> None:
    """How often a number stands at a place, over 1,000 keys, is what chance gives: a chi-squared test."""
    counts = np.zeros((size, size))
    for seed in range(1000):
        counts[np.arange(size), Permutation(size=size, key=(seed,))(np.arange(size))] += 1
    expected = 1000 / size
    freedom = (size - 1) ** 2

    assert ((counts - expected) ** 2 / expected).sum() < freedom + 5 * np.sqrt(2 * freedom)


def test_neighbours_are_strangers() -> None:
    """100,000 places of a large one: no correlation with the place, or with the number before."""
    size = 10**9
    found = Permutation(size=size, key=("large",))(np.arange(100_000)) / size

    assert len(np.unique(found)) == 100_000
    assert abs(found.mean() - 0.5) < 5 / np.sqrt(12 * len(found))
    assert abs(np.corrcoef(found, np.arange(len(found)))[0, 1]) < 5 / np.sqrt(len(found))
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 5 / np.sqrt(len(found))


def test_a_thousand_million_numbers_take_no_memory_and_no_time() -> None:
    """A batch from the middle of 10^9: under 1 MB and under 0.1 s; a list of them would take 8 GB."""
    tracemalloc.start()
    began = time.perf_counter()
    found = Permutation(size=10**9, key=(0,))(np.arange(5 * 10**8, 5 * 10**8 + 256))
    seconds = time.perf_counter() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert 0 <= found.min() <= found.max() < 10**9
    assert peak < 1e6
    assert seconds < 0.1
