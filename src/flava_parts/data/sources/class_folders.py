"""The sub-folders that name the classes of the pictures in them."""

from __future__ import annotations

from pathlib import Path

from ...errors import InputError


def class_folders(folder: str | Path) -> list[Path]:
    """The sub-folders of ``folder`` in alphabetical order, without hidden ones.

    Raises InputError if there is no such folder, or nothing in it that could be a class.
    """
    try:
        found = sorted(path for path in Path(folder).iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise InputError(
            f"{folder}: no folder could be read ({error.strerror}); give one that has a sub-folder for each class"
        ) from error
    if not found:
        raise InputError(f"{folder}: has no sub-folders; put the pictures of each class into one of its name")
    return found
