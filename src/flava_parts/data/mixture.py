"""Which stream each step takes its batch from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch

from .keyed import keyed_generator

ROUND = 1000
"""Steps after which every stream has had its share."""


class Turn(NamedTuple):
    """What a step takes."""

    stream: str
    """The stream's name."""
    number: int
    """How many batches that stream has given before."""


class Mixture:
    """Streams in the given ratios: of every `ROUND` steps each stream gets its share, in an order drawn from the seed.

    Shares are rounded to whole steps and are at least one. Step k follows from seed and k alone.
    """

    def __init__(self, *, ratios: Mapping[str, float], seed: int) -> None:
        self._names = tuple(ratios)
        self._seed = seed
        total = sum(ratios.values())
        self._shares = [max(1, round(ROUND * ratio / total)) for ratio in ratios.values()]
        self._shares[self._shares.index(max(self._shares))] += ROUND - sum(self._shares)  # what rounding left over
        self._round: tuple[int, torch.Tensor] | None = None

    def turn(self, step: int) -> Turn:
        """The stream of a step (counted from 0), and which of that stream's batches it is."""
        number, position = divmod(step, ROUND)
        order = self._order(number)
        stream = int(order[position])
        before = number * self._shares[stream] + int((order[:position] == stream).sum())
        return Turn(self._names[stream], before)

    def _order(self, number: int) -> torch.Tensor:
        if self._round is None or self._round[0] != number:
            streams = torch.arange(len(self._names)).repeat_interleave(torch.tensor(self._shares))
            permutation = torch.randperm(ROUND, generator=keyed_generator(self._seed, "mixture", number))
            self._round = (number, streams[permutation])
        return self._round[1]
