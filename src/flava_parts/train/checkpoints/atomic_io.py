"""The few steps by which files reach the disk. All that a checkpoint writes goes through them, but for tensors in
parts, which torch writes: see `parts`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from torch import Tensor

from .tensor_files import save_tensors

HIDDEN = ".tmp-"
"""How the names of files and folders begin that nobody should read: not finished yet, or about to go."""


def make_folder(folder: Path) -> None:
    """A new folder. Raises FileExistsError."""
    folder.mkdir()


def write_text(path: Path, text: str) -> None:
    """A new file of UTF-8 text, on the disk only after `sync`."""
    path.write_text(text, encoding="utf-8", newline="\n")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A new safetensors file, on the disk only after `sync`."""
    save_tensors(tensors, path)


def sync(path: Path) -> None:
    """See that a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rename(path: Path, new: Path) -> None:
    """Give a file or folder another name on the same disk; a file of that name is replaced, in one step."""
    path.replace(new)


def remove(path: Path) -> None:
    """Remove a folder with all that is in it, or a file, or nothing."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """A file of UTF-8 text in place of what there is: whoever reads it, even after a power cut, finds the old text or
    the new."""
    hidden = path.with_name(f"{HIDDEN}{path.name}-{uuid4().hex}")
    try:
        write_text(hidden, text)
        sync(hidden)
        rename(hidden, path)
    except BaseException:
        remove(hidden)
        raise
    sync(path.parent)


def remove_hidden(folder: Path) -> None:
    """Remove what was left unfinished in a folder."""
    for path in sorted(folder.glob(f"{HIDDEN}*")):
        remove(path)


@contextmanager
def new_folder(final: Path) -> Generator[Path]:
    """A hidden folder to write into, which becomes ``final`` when everything in it is on the disk.

    If writing fails, nothing is left. Raises OSError if ``final`` has files already.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    unfinished = final.parent / f"{HIDDEN}{final.name}-{uuid4().hex}"
    make_folder(unfinished)
    try:
        yield unfinished
        for name in sorted(os.listdir(unfinished)):
            sync(unfinished / name)
        sync(unfinished)
        rename(unfinished, final)
    except BaseException:
        remove(unfinished)
        raise
    sync(final.parent)
