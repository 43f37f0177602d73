"""The next batch, made while the last is trained on."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread

from .loader import Batch

PATIENCE = 5.0
"""Seconds that a batch which nobody wants any more is waited for, so that nothing runs on while Python ends."""


class Ahead:
    """A thread of this process that makes one batch ahead of those that are asked for, of ``steps`` in all.

    Reading, decoding, resizing and products of matrices let other threads run. `close` gives up a read that hangs, and
    the process ends without it.
    """

    def __init__(self, make: Callable[[int], Batch], *, steps: int) -> None:
        self._steps = steps
        self._asked: SimpleQueue[int | None] = SimpleQueue()
        self._made: SimpleQueue[tuple[int, Batch | BaseException]] = SimpleQueue()
        self._coming: int | None = None
        self._thread = Thread(target=_make, args=(make, self._asked, self._made), daemon=True)
        self._thread.start()

    def batch(self, step: int) -> Batch:
        """The batch of a step. Raises what making it raises."""
        if self._coming != step:
            self._asked.put(step)
        while True:
            number, made = self._made.get()
            if number == step:  # else it was asked for before, and is not wanted any more
                break
        self._coming = step + 1 if step + 1 < self._steps else None
        if self._coming is not None:
            self._asked.put(self._coming)
        if isinstance(made, BaseException):
            raise made
        return made

    def close(self) -> None:
        """End the thread, after the batch that it is making."""
        self._asked.put(None)
        self._thread.join(timeout=PATIENCE)


def _make(
    make: Callable[[int], Batch],
    asked: SimpleQueue[int | None],
    made: SimpleQueue[tuple[int, Batch | BaseException]],
) -> None:
    while (step := asked.get()) is not None:
        try:
            made.put((step, make(step)))
        except BaseException as error:  # else nobody would wake who waits for it
            made.put((step, error))
