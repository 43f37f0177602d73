"""The lines of a text file, each read where it lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .byte_file import ByteFile

CHUNK = 2**24
NEWLINE = 10
BOM = b"\xef\xbb\xbf"
"""What some programs put before UTF-8 text."""


class Lines:
    """The lines of a file that are not blank, by number; 8 bytes of memory a line, and 4 for its number.

    starts: (N + 1,), where each begins, and the end of the file. numbers: (N,), which line of the file it is, from 1.
    """

    def __init__(self, path: str) -> None:
        self.file = ByteFile(path)
        self.starts, self.numbers = _starts(self.file)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> bytes:
        """The bytes of a line, without the end of it. Raises InputError if the file cannot be read any more."""
        content = self.file.read(int(self.starts[index]), int(self.starts[index + 1]))
        return content.partition(b"\n")[0].removesuffix(b"\r")


def _starts(file: ByteFile) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    ends: list[NDArray[np.int64]] = []
    first = at = start_of_text(file)
    with file.stream() as stream:
        stream.seek(at)
        while chunk := stream.read(CHUNK):
            ends.append(np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == NEWLINE) + at)
            at += len(chunk)
    newlines = np.concatenate([*ends, np.array([at])])
    starts = np.concatenate([np.array([first]), newlines[:-1] + 1])
    lengths = newlines - starts
    for line in np.flatnonzero(lengths == 1):  # blank, where lines end in two bytes
        lengths[line] -= file.read(int(starts[line]), int(starts[line]) + 1) == b"\r"
    kept = np.flatnonzero(lengths)
    return np.append(starts[kept], at), (kept + 1).astype(np.uint32)


def start_of_text(file: ByteFile) -> int:
    """Where the text of a file begins: behind the mark that some programs put there."""
    return len(BOM) if file.read(0, len(BOM)) == BOM else 0
