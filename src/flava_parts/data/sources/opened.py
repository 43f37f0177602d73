"""Files of which only so many are open at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

OPENED = 128
"""So many files of a source are open at once; systems often allow a process 1024."""

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Opened(Generic[K, T]):
    """Files by a key, each opened when it is asked for; of too many, the one that nobody asked for longest is closed.

    open, close: how that is done. In a process that it was sent to, none is open.
    """

    def __init__(self, open: Callable[[K], T], close: Callable[[T], None]) -> None:
        self._open = open
        self._close = close
        self._opened: OrderedDict[K, T] = OrderedDict()

    def __getitem__(self, key: K) -> T:
        opened = self._opened.get(key)
        if opened is None:
            opened = self._opened[key] = self._open(key)
            if len(self._opened) > OPENED:
                self._close(self._opened.popitem(last=False)[1])
        else:
            self._opened.move_to_end(key)
        return opened

    def __reduce__(self) -> tuple[object, ...]:
        return (Opened, (self._open, self._close))
