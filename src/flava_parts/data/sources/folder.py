"""The pictures in a folder, by their names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ...errors import InputError
from ...inputs.pictures import PictureError, read_picture
from .caption_rule import UnusableError

SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".webp"})
"""Files with other endings are not looked at."""


def pictures_below(folder: str | Path) -> Iterator[str]:
    """The names of the pictures below a folder, relative to it, in alphabetical order; no hidden ones.

    Raises InputError if there is no such folder. Links to folders are not followed, as they may lead in circles.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{folder}: no folder could be read ({error.strerror})") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from (f"{entry.name}/{name}" for name in pictures_below(entry.path))
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and entry.is_file():
            yield entry.name


def picture_in(folder: str, name: str) -> bytes:
    """The content of the file of that name below a folder.

    Raises UnusableError: ``outside-folder`` for a name that leads out of it, and as `read_picture` does.
    """
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or os.path.isabs(name):
        raise UnusableError(f"leads out of the folder {folder}", "outside-folder")
    try:
        return read_picture(os.path.join(folder, name))
    except PictureError as error:
        raise UnusableError(str(error), error.reason) from None
