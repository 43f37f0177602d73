"""The order in which a source's samples come: epoch after epoch, each sample once in an epoch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .permutation import Permutation


class Place(NamedTuple):
    """A reading of a sample."""

    epoch: int
    """How often all samples came before."""
    sample: int
    """Which sample of its source."""


class Order:
    """The readings of ``size`` samples, numbered from 0: each epoch is a fresh permutation of all of them.

    Any reading follows from key and number alone, in constant time and memory: 10^9 samples cost no more than ten.
    """

    def __init__(self, *, size: int, key: tuple[str | int, ...]) -> None:
        self.size = size
        self._key = key
        self._epochs: dict[int, Permutation] = {}

    def places(self, numbers: NDArray[np.int64]) -> list[Place]:
        """The readings with these numbers (N,)."""
        epochs, positions = np.divmod(numbers, self.size)
        indices = np.empty_like(positions)
        for epoch in np.unique(epochs).tolist():
            chosen = epochs == epoch
            indices[chosen] = self._permutation(epoch)(positions[chosen])
        return list(map(Place, epochs.tolist(), indices.tolist()))

    def batch(self, number: int, *, size: int) -> list[Place]:
        """The readings of batch ``number``, counted from 0 through all epochs, of ``size`` samples.

        A batch that begins with the last samples of an epoch is filled up with the first of the next, so that no
        sample is left out.
        """
        return self.places(np.arange(number * size, (number + 1) * size))

    def _permutation(self, epoch: int) -> Permutation:
        if epoch not in self._epochs:
            self._epochs = {kept: permutation for kept, permutation in self._epochs.items() if abs(kept - epoch) <= 1}
            self._epochs[epoch] = Permutation(size=self.size, key=(*self._key, "epoch", epoch))
        return self._epochs[epoch]


def check_batch(size: int, batch_size: int) -> None:
    """Raise InputError if a batch would hold a sample twice."""
    if batch_size > size:
        raise InputError(f"{size} samples make no batch of {batch_size}; make batch_size at most {size}")
