"""How long the captions of many rows are."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


class Lengths:
    """The lengths of the captions of N rows: 4 bytes a caption, and 8 a row."""

    def __init__(self, lengths: NDArray[np.uint32], ends: NDArray[np.int64]) -> None:
        self._lengths = lengths
        self._ends = ends

    @classmethod
    def of(cls, rows: Iterable[Sequence[int]]) -> Lengths:
        """Of rows that come one by one."""
        lengths, ends = array("L"), array("q")
        for row in rows:
            lengths.extend(row)
            ends.append(len(lengths))
        return cls(np.array(lengths, dtype=np.uint32), np.array(ends, dtype=np.int64))

    def __getitem__(self, row: int) -> Sequence[int]:
        return self._lengths[int(self._ends[row - 1]) if row else 0 : int(self._ends[row])].tolist()
