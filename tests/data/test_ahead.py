"""A batch is made while the last is used; in order, with its errors, and without waiting for what hangs."""

from __future__ import annotations

import time
from threading import Event

import pytest

from flava_parts.data.ahead import Ahead
from flava_parts.data.loader import Batch


class Making:
    """Makes batches that say their step, and tells which were begun; ``fatal`` raises, ``slow`` waits for ``go``."""

    def __init__(self, *, fatal: int = -1, slow: int = -1) -> None:
        self.fatal, self.slow = fatal, slow
        self.begun: list[int] = []
        self.go = Event()

    def __call__(self, step: int) -> Batch:
        self.begun.append(step)
        if step == self.slow:
            self.go.wait()
        if step == self.fatal:
            raise KeyError(step)
        return Batch(str(step), None, {})


def settled(making: Making, count: int) -> list[int]:
    """The steps that were begun, once there are so many and a little time has passed."""
    deadline = time.monotonic() + 10
    while len(making.begun) < count and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    return making.begun


def test_one_is_made_ahead_and_none_behind_the_last() -> None:
    making = Making()
    ahead = Ahead(making, steps=4)
    names = [ahead.batch(1).stream]
    begun = list(settled(making, 2))
    names += [ahead.batch(step).stream for step in (2, 3)]
    ahead.close()

    assert ["1", "2", "3"] == names
    assert [1, 2] == begun
    assert [1, 2, 3] == making.begun


def test_any_step_may_be_asked_for() -> None:
    """What was made ahead for another is thrown away."""
    ahead = Ahead(Making(), steps=100)

    assert ["7", "8", "3", "50", "51"] == [ahead.batch(step).stream for step in (7, 8, 3, 50, 51)]
    ahead.close()


def test_an_error_comes_with_its_step() -> None:
    """Not with the one that was used while it was made; and the next is made all the same."""
    making = Making(fatal=2)
    ahead = Ahead(making, steps=10)
    ahead.batch(1)
    settled(making, 2)
    with pytest.raises(KeyError, match="2"):
        ahead.batch(2)

    assert "3" == ahead.batch(3).stream
    ahead.close()


def test_what_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flava_parts.data.ahead.PATIENCE", 0.1)
    making = Making(slow=1)
    ahead = Ahead(making, steps=10)
    ahead.batch(0)
    settled(making, 2)
    began = time.monotonic()
    ahead.close()

    assert time.monotonic() - began < 5
    making.go.set()
