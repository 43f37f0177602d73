"""Limits of the system that tests put on themselves."""

from __future__ import annotations

import resource
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_size_limit(size: int) -> Generator[None]:
    """No file grows beyond so many bytes: what a full disk is to those who write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def opened_below(folder: Path) -> list[Path]:
    """The files below a folder that this process has open."""
    return [path for path in (number.resolve() for number in Path("/proc/self/fd").iterdir()) if folder in path.parents]
