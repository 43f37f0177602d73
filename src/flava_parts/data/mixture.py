"""Which of several streams comes next, by their ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from .keyed import keyed_generator

ROUND = 1000
"""Turns after which every stream has had its share, with up to a tenth as many streams; ten for each with more."""


class Turn(NamedTuple):
    """Who comes."""

    stream: str
    """The stream's name."""
    number: int
    """How many turns that stream has had before."""


class Mixture:
    """Streams in the given ratios: of every round of turns each gets its share, in an order drawn by the key.

    A turn is an update, or a row of a batch. Shares are whole turns, by largest remainders, and at least one. Turn k
    follows from key and k alone.
    """

    def __init__(self, *, ratios: Mapping[str, float], key: tuple[str | int, ...]) -> None:
        self._names = tuple(ratios)
        self._key = key
        self._length = max(ROUND, 10 * len(ratios))
        self._shares = _shares(list(ratios.values()), self._length)
        self._round: tuple[int, list[Turn]] | None = None

    def turn(self, number: int) -> Turn:
        """Turn ``number``, counted from 0."""
        whole, position = divmod(number, self._length)
        return self._turns(whole)[position]

    def had(self, number: int) -> dict[str, int]:
        """How many turns each stream has had before turn ``number``."""
        whole, position = divmod(number, self._length)
        had = {name: whole * share for name, share in zip(self._names, self._shares, strict=True)}
        for turn in self._turns(whole)[:position]:
            had[turn.stream] += 1
        return had

    def _turns(self, whole: int) -> list[Turn]:
        if self._round is None or self._round[0] != whole:
            self._round = (whole, self._drawn(whole))
        return self._round[1]

    def _drawn(self, whole: int) -> list[Turn]:
        streams = torch.arange(len(self._names)).repeat_interleave(torch.tensor(self._shares))
        permutation = torch.randperm(self._length, generator=keyed_generator(*self._key, whole))
        had = [whole * share for share in self._shares]
        turns: list[Turn] = []
        for stream in streams[permutation].tolist():
            turns.append(Turn(self._names[stream], had[stream]))
            had[stream] += 1
        return turns


def _shares(ratios: Sequence[float], turns: int) -> list[int]:
    """So many turns in proportion to ratios, of which there are fewer than turns."""
    total = sum(ratios)
    quotas = [turns * ratio / total for ratio in ratios]
    shares = [max(1, int(quota)) for quota in quotas]
    while (left := turns - sum(shares)) != 0:
        short = [quota - share for quota, share in zip(quotas, shares, strict=True)]
        if left > 0:
            shares[short.index(max(short))] += 1
        else:  # what was rounded up to one is taken from the others
            long = [lack if share > 1 else turns for lack, share in zip(short, shares, strict=True)]
            shares[long.index(min(long))] -= 1
    return shares
