"""One trainer a folder: a lock that the system takes back when its holder dies, however it dies."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ...errors import InputError
from .atomic_io import replace_text

LOCK, OWNER = ".lock", ".lock-owner.json"
"""The lock's file, which is empty, and the file that says who holds it, in the run's folder."""


@contextmanager
def run_lock(folder: Path) -> Generator[None]:
    """Nobody else trains in the folder while this is open. Raises InputError if somebody does, and says who.

    The lock is the system's (flock), so that one left by a process that was killed counts for nothing.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"{folder}: {_holder(folder)} trains here already; choose another --out") from None
    try:
        replace_text(folder / OWNER, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n")
        yield
    finally:
        (folder / OWNER).unlink(missing_ok=True)
        lock.release()


def _holder(folder: Path) -> str:
    try:
        owner: Any = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        return f"process {int(owner['pid'])} on {owner['host']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"
