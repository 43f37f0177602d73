"""A permutation that is computed where it is asked for, instead of being kept as a list."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .keyed import seed_of, words_of

ROUNDS = 8
"""Rounds of the network; four already hide all structure from a test (Luby and Rackoff 1988)."""


class Permutation:
    """A permutation of the numbers below ``size``, drawn by ``key``, in a memory that does not grow with ``size``.

    A Feistel network permutes the smallest square 2^b x 2^b that holds ``size`` numbers; a number that leaves the range
    is sent through again until it is back in it ("cycle walking", Black and Rogaway 2002), under four times on average.
    """

    def __init__(self, *, size: int, key: tuple[str | int, ...]) -> None:
        self.size = size
        self._bits = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
        self._mask = (np.uint64(1) << self._bits) - np.uint64(1)
        self._seeds = [seed_of((*key, "round", number)) for number in range(ROUNDS)]

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """What stands at the positions (N,), each from 0 to ``size - 1``."""
        numbers = self._network(positions.astype(np.uint64))
        while len(outside := np.nonzero(numbers >= self.size)[0]):
            numbers[outside] = self._network(numbers[outside])
        return numbers.astype(np.int64)

    def _network(self, numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = numbers >> self._bits, numbers & self._mask
        for seed in self._seeds:
            left, right = right, left ^ (words_of(seed, right.view(np.int64)) & self._mask)
        return (left << self._bits) | right
