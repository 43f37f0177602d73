"""The processes that train together, as far as a checkpoint needs to know of them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import distributed

from ..errors import FlavaPartsError


class RankLostError(FlavaPartsError):
    """Another process of the run is gone, or does not answer."""


class Ranks(Protocol):
    """What the processes of a run agree about; every method is called by all of them, in the same order."""

    rank: int
    """This process, from 0."""
    size: int
    """How many there are."""

    @property
    def group(self) -> distributed.ProcessGroup | None:
        """Their group, for what torch does in all of them; None for the default group, if there is one."""
        ...

    def any_failed(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        ...

    def of_first(self, number: int) -> int:
        """What process 0 gave."""
        ...

    def numbers_of_first(self, numbers: Sequence[float]) -> list[float]:
        """The numbers that process 0 gave."""
        ...

    def of_all(self, text: str) -> list[str]:
        """What each process gave."""
        ...

    def means(self, numbers: Sequence[float]) -> list[float]:
        """The mean over the processes of each number."""
        ...

    def barrier(self) -> None:
        """Wait for all."""


class OneProcess:
    """A run in this process alone."""

    rank = 0
    size = 1
    group = None

    def any_failed(self, flag: bool) -> bool:
        """The flag."""
        return flag

    def of_first(self, number: int) -> int:
        """The number."""
        return number

    def numbers_of_first(self, numbers: Sequence[float]) -> list[float]:
        """The numbers."""
        return list(numbers)

    def of_all(self, text: str) -> list[str]:
        """The text."""
        return [text]

    def means(self, numbers: Sequence[float]) -> list[float]:
        """The numbers."""
        return list(numbers)

    def barrier(self) -> None:
        """Nobody else is waited for."""


class GlooRanks:
    """The processes of a gloo group: agreement goes over the CPU, so that no accelerator's collective waits for a disk.

    Every method raises RankLostError if a process is gone: at once if it ended, after the group's timeout if it hangs.
    """

    def __init__(self, group: distributed.ProcessGroup | None = None) -> None:
        """The processes of ``group``, which has the gloo back end; all of them if not given."""
        self.group = group
        self.rank = distributed.get_rank(group)
        self.size = distributed.get_world_size(group)

    def any_failed(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        flags = torch.tensor(int(flag))
        with _together():
            distributed.all_reduce(flags, distributed.ReduceOp.MAX, group=self.group)
        return bool(flags)

    def of_first(self, number: int) -> int:
        """What process 0 gave; 0 <= number < 2**63."""
        shared = torch.tensor(number)
        with _together():
            distributed.broadcast(shared, group=self.group, group_src=0)
        return int(shared)

    def numbers_of_first(self, numbers: Sequence[float]) -> list[float]:
        """The numbers that process 0 gave; all give equally many."""
        shared = torch.tensor(numbers, dtype=torch.float64)
        with _together():
            distributed.broadcast(shared, group=self.group, group_src=0)
        return shared.tolist()

    def of_all(self, text: str) -> list[str]:
        """What each process gave."""
        texts = [""] * self.size
        with _together():
            distributed.all_gather_object(texts, text, group=self.group)
        return texts

    def means(self, numbers: Sequence[float]) -> list[float]:
        """The mean over the processes of each number, of which all have equally many."""
        sums = torch.tensor(numbers, dtype=torch.float64)
        with _together():
            distributed.all_reduce(sums, group=self.group)
        return (sums / self.size).tolist()

    def barrier(self) -> None:
        """Wait for all."""
        with _together():
            distributed.barrier(group=self.group)


@contextmanager
def _together() -> Generator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RankLostError(f"another process of the run is gone ({str(error).splitlines()[0]})") from error


class FirstFailedError(FlavaPartsError):
    """The first process failed at what the others waited for, and says why."""


def first_does(ranks: Ranks, do: Callable[[], object]) -> None:
    """Have the first process do something, and the others wait. Raises what that raised, and FirstFailedError there."""
    failure = None
    if ranks.rank == 0:
        try:
            do()
        except Exception as error:
            failure = error
    if ranks.any_failed(failure is not None):
        raise failure or FirstFailedError("the first process failed")
