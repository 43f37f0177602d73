"""Randomness by name: the same key gives the same numbers, whatever was drawn before."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from torch import Generator

Numbers = NDArray[np.int64] | int
"""Whole numbers: an array (N,), or one that goes with every entry of the others."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIERS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)


def keyed_generator(*key: str | int) -> Generator:
    """A fresh CPU generator seeded by all parts of the key, such as ``(seed, "order", epoch)``."""
    return Generator().manual_seed(_digest(key))


def keyed_words(key: tuple[str | int, ...], *numbers: Numbers) -> NDArray[np.uint64]:
    """64 random bits (N,) for each entry of ``numbers``: what a generator keyed by each would give, all at once.

    The mixing is that of SplitMix64 (Steele, Lea and Flood 2014), once for each number.
    """
    return words_of(seed_of(key), *numbers)


def words_of(seed: np.uint64, *numbers: Numbers) -> NDArray[np.uint64]:
    """As `keyed_words`, of a key whose `seed_of` is known."""
    state = np.full(1, seed)
    for number in numbers:
        state = _mixed(state ^ ((np.atleast_1d(np.asarray(number)).astype(np.uint64) + np.uint64(1)) * _GOLDEN))
    return state


def keyed_uniform(key: tuple[str | int, ...], *numbers: Numbers, count: int) -> NDArray[np.float64]:
    """(N, count) numbers, uniform in [0, 1), for each entry of ``numbers``."""
    words = keyed_words(key, *numbers)[:, None]
    columns = np.arange(1, count + 1, dtype=np.uint64)
    return (_mixed(words + columns * _GOLDEN) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def name_number(name: str) -> int:
    """A name as a number from 0 to 2^63 - 1, to go into a key with other numbers."""
    return _digest((name,)) >> 1


def seed_of(key: tuple[str | int, ...]) -> np.uint64:
    """64 bits that stand for a key."""
    return np.uint64(_digest(key))


def _digest(key: tuple[str | int, ...]) -> int:
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "big")


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    first, second, third = _SHIFTS
    state = (state ^ (state >> first)) * _MULTIPLIERS[0]
    state = (state ^ (state >> second)) * _MULTIPLIERS[1]
    return state ^ (state >> third)
