"""Many strings in little memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray


class Strings:
    """N strings as one run of UTF-8 bytes and the N places where each ends: 8 bytes a string beside its own.

    A Python list of as many would take 60 bytes more for each, and each forked process a copy of it all: counting
    references writes to every string. What is no UTF-8, as in names of files or JSON's halves of characters, comes back
    as it went in.
    """

    def __init__(self, content: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self.content = content
        self.ends = ends

    @classmethod
    def of(cls, strings: Iterable[str]) -> Strings:
        """The strings, packed one by one."""
        content, ends = bytearray(), array("q")
        for string in strings:
            content += string.encode("utf-8", "surrogatepass")
            ends.append(len(content))
        return cls(np.frombuffer(bytes(content), dtype=np.uint8), np.array(ends, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> str:
        start = self.ends.item(index - 1) if index else 0
        return self.content[start : self.ends.item(index)].tobytes().decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))
