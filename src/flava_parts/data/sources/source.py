"""What every source of samples can do."""

from __future__ import annotations

from typing import Protocol

from torch import Generator

from .sample import Sample


class Source(Protocol):
    """A numbered set of samples."""

    def __len__(self) -> int:
        """How many samples there are."""
        ...

    def sample(self, index: int, generator: Generator | None = None) -> Sample:
        """The sample at an index; what varies from one reading to the next is drawn from the generator, if given."""
        ...
