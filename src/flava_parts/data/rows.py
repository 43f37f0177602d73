"""Which samples the rows of a batch are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from .mixture import Mixture
from .order import Order
from .permutation import Permutation


class Row(NamedTuple):
    """One reading of one sample."""

    stream: str
    """The stream that it comes from."""
    epoch: int
    """How often all of that stream's samples came before."""
    sample: int
    """Which sample of the stream's source."""


class Rows:
    """The rows of the batches of one stream, or of several streams that share their batches.

    orders, ratios: of the streams by name; each row takes the next sample of one of them, in their ratios.
    bucket, length: if given, the rows of ``bucket`` batches in a row are sorted by length and cut into batches again,
        which then come in a random order: texts of like length share a batch, and each still comes once in an epoch.
    """

    def __init__(
        self,
        *,
        orders: Mapping[str, Order],
        ratios: Mapping[str, float],
        batch_size: int,
        key: tuple[str | int, ...],
        bucket: int | None = None,
        length: Callable[[Row], int] | None = None,
    ) -> None:
        self.batch_size = batch_size
        self._orders = orders
        self._mixture = Mixture(ratios=ratios, key=(*key, "rows")) if len(orders) > 1 else None
        self._key = key
        self._bucket = bucket
        self._length = length
        self._window: tuple[int, list[list[Row]]] | None = None

    def batch(self, number: int) -> list[Row]:
        """The rows of batch ``number``, counted from 0."""
        if self._bucket is None or self._length is None:
            return self._drawn(number * self.batch_size, self.batch_size)
        window, place = divmod(number, self._bucket)
        if self._window is None or self._window[0] != window:
            self._window = (window, self._sorted(window, self._bucket, self._length))
        return self._window[1][place]

    def epochs(self, number: int) -> dict[str, float]:
        """How often the samples of each stream have come once batch ``number`` is drawn."""
        rows = (number + 1) * self.batch_size
        had = dict.fromkeys(self._orders, rows) if self._mixture is None else self._mixture.had(rows)
        return {name: had[name] / order.size for name, order in self._orders.items()}

    def _drawn(self, first: int, count: int) -> list[Row]:
        """The rows with the numbers from ``first``, as the streams' orders and ratios have them."""
        if self._mixture is None:
            ((name, order),) = self._orders.items()
            return [Row(name, *place) for place in order.places(np.arange(first, first + count))]
        turns = [self._mixture.turn(number) for number in range(first, first + count)]
        found: dict[str, list[Row]] = {}
        for name, order in self._orders.items():
            numbers = np.array([turn.number for turn in turns if turn.stream == name], dtype=np.int64)
            found[name] = [Row(name, *place) for place in order.places(numbers)][::-1]
        return [found[turn.stream].pop() for turn in turns]

    def _sorted(self, window: int, batches: int, length: Callable[[Row], int]) -> list[list[Row]]:
        size = self.batch_size
        rows = sorted(self._drawn(window * batches * size, batches * size), key=length)
        order = Permutation(size=batches, key=(*self._key, "bucket", window))(np.arange(batches))
        return [rows[place * size : (place + 1) * size] for place in order.tolist()]
