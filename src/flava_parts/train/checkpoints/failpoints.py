"""Named places in the saving of a checkpoint at which a test can let the process die or the disk fail."""

from __future__ import annotations

import errno
import os

ARMED = "FLAVA_PARTS_FAILPOINT"
"""The environment variable that arms one: ``manifest_written=die``; with ``@1`` behind it, in process 1 alone."""

FAILPOINTS = (
    "save_begun",
    "folder_made",
    "tensors_written",
    "tensors_synced",
    "tensors_agreed",
    "spec_written",
    "state_written",
    "manifest_written",
    "folder_synced",
    "renamed",
    "parent_synced",
    "latest_written",
    "latest_replaced",
    "pruning",
    "pruned_hidden",
    "save_ended",
)
"""In the order in which a save comes by."""

EXIT_CODE = 99
"""Of a process that died at one."""


def failpoint(name: str, *, rank: int = 0) -> None:
    """Nothing, unless `ARMED` names this place: then ``die`` ends the process at once, without any clearing up, as a
    lost machine would; ``ENOSPC`` or ``EIO`` raises that OSError."""
    armed = os.environ.get(ARMED)
    if armed is None:
        return
    assert name in FAILPOINTS, name
    place, _, action = armed.partition("=")
    action, _, only = action.partition("@")
    if place != name or only not in ("", str(rank)):
        return
    if action == "die":
        os._exit(EXIT_CODE)
    number: int = getattr(errno, action)
    raise OSError(number, os.strerror(number), f"failpoint {name}")
