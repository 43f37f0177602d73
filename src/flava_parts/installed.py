"""What installed distributions offer: found by what their metadata says, without importing any; then loaded in time."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points

from .hooks import GROUP
from .registry import Origin

VERBS = "flava_parts.verbs"
"""The entry points that verbs of the command line are found by."""
SECONDS = 30.0
"""How long an installed plugin may take to load; the environment variable FLAVA_PARTS_PLUGIN_SECONDS changes it."""


def installed(group: str = GROUP) -> list[tuple[Origin, EntryPoint]]:
    """The entry points of a group, whether they work or not, sorted by distribution and name.

    A verb's origin is the plugin of its distribution, or the distribution itself if that has no plugin.
    """
    found = entry_points()
    names = {point.dist.name: point.name for point in found.select(group=GROUP) if point.dist}
    points = [(_origin(point, names if group != GROUP else {}), point) for point in found.select(group=group)]
    return sorted(points, key=lambda pair: (pair[0].distribution or "", pair[1].name))


def _origin(point: EntryPoint, plugins: dict[str, str]) -> Origin:
    if point.dist is None:
        return Origin(point.name)
    return Origin(plugins.get(point.dist.name, point.name), point.dist.name, point.dist.version)


def is_blocked(origin: Origin, block: Sequence[str] = ()) -> bool:
    """Whether ``block``, or FLAVA_PARTS_BLOCK in the environment (comma-separated), names plugin or distribution."""
    names = {_normal(name) for name in (*block, *os.environ.get("FLAVA_PARTS_BLOCK", "").split(",")) if name.strip()}
    return bool(names & {_normal(origin.plugin), _normal(origin.distribution or origin.plugin)})


def _normal(name: str) -> str:
    """A distribution's name as packaging compares it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def seconds() -> float:
    """How long a plugin may take to load."""
    try:
        return float(os.environ.get("FLAVA_PARTS_PLUGIN_SECONDS", SECONDS))
    except ValueError:
        return SECONDS


class LateError(BaseException):
    """A plugin takes too long. No `Exception`, lest the plugin itself catches it."""


def load_in_time(point: EntryPoint) -> object:
    """What an entry point names. Raises LateError if that takes too long and an alarm can be set."""
    with _alarm(seconds()):
        return point.load()


@contextmanager
def _alarm(limit: float) -> Generator[None, None, None]:
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "SIGALRM") or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        yield  # somebody else's alarm, or none to be had
        return

    def ring(_signal: int, _frame: object) -> None:
        raise LateError(f"not loaded after {limit:g} s, so given up")

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
