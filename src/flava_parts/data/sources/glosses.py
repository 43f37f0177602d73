"""The dictionary definitions that come with the package."""

from __future__ import annotations

from pathlib import Path

from torch import Generator

from .sample import Sample

FILE = Path(__file__).parents[1] / "samples" / "wordnet-glosses.txt"


class Glosses:
    """20,000 definitions of WordNet 3.0: texts without pictures."""

    def __init__(self) -> None:
        self._lines = FILE.read_text(encoding="utf-8").splitlines()

    def __len__(self) -> int:
        return len(self._lines)

    def sample(self, index: int, generator: Generator | None = None) -> Sample:
        """Key (the number of the definition) and text; the same at every reading."""
        return Sample(key=str(index), text=self._lines[index])
