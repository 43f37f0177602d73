"""Stopping when someone asks, with nothing half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; what clusters send before they kill; what Slurm is often told to send some minutes before that."""


class Interrupted(BaseException):
    """Someone asked to stop while nothing was being changed. No error: ``except Exception`` lets it by."""


class Interruption:
    """While this context is open, the first signal of `SIGNALS` is remembered, and ``asked`` for who looks.

    Inside `at_once` it also raises Interrupted: a batch that is waited for, a forward pass that is being compiled or an
    evaluation can be given up, while an update, its line of metrics and its checkpoint belong together.
    A second Ctrl-C raises KeyboardInterrupt wherever it comes.
    """

    def __init__(self, *, alone: bool = True) -> None:
        """``alone=False`` if other processes train along."""
        self.signal: signal.Signals | None = None
        """The first signal that came."""
        self._alone = alone
        self._at_once = False
        self._before: dict[signal.Signals, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether a signal came."""
        return self.signal is not None

    @contextmanager
    def at_once(self, *, together: bool = False) -> Generator[None]:
        """What is done in here changes nothing that is kept, and is given up when someone asks. Raises Interrupted.

        ``together`` if all processes have to do it, should there be several: then nobody gives it up, for the others
        would wait.
        """
        before, self._at_once = self._at_once, self._alone or not together
        try:
            if self._at_once and self.asked:
                raise Interrupted
            yield
        finally:
            self._at_once = before

    def __enter__(self) -> Interruption:
        # Only the main thread may handle signals; elsewhere nobody asks.
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.signal = signal.Signals(number)
        if self._at_once:
            raise Interrupted

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
