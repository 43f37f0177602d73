"""Rows to samples: what is random in a sample follows from seed, epoch and sample; a bad one is replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from torch import Generator

from ..errors import InputError
from ..facts import Use
from .keyed import keyed_generator, keyed_words
from .rows import Row
from .sources.bad_sample import BadSampleError
from .sources.sample import Sample
from .sources.source import Source

OnError = Literal["raise", "skip", "quarantine"]

ATTEMPTS = 100
"""So many replacements in a row may be bad themselves."""


@runtime_checkable
class Lengths(Protocol):
    """A source that knows how long its texts are without opening pictures."""

    def text_length(self, index: int, generator: Generator | None = None) -> int:
        """About how many characters the text has that `sample` gives with such a generator; 0 of a bad sample."""
        ...


@runtime_checkable
class Located(Protocol):
    """A source that knows where a sample lies without reading it."""

    def place(self, index: int) -> str:
        """The sample's shard or file and its key, for messages."""
        ...


class BadSample(NamedTuple):
    """A sample that could not be used, and was replaced."""

    stream: str
    sample: int
    source: str
    """What the source is called, such as its shard."""
    key: str
    """What the sample is called in it."""
    reason: str
    """Words that many samples can share, to be counted by."""
    message: str
    """The whole sentence."""


class Read(NamedTuple):
    """What became of a row."""

    row: Row
    """The row itself, or its replacement."""
    sample: Sample
    bad: tuple[BadSample, ...]
    """The samples that were found bad on the way."""


class Reader:
    """Reads rows of a run's streams.

    Everything that a source draws, such as which of several captions, comes from a generator keyed by seed, stream,
    epoch and sample. In place of a bad sample comes another of the same stream, keyed likewise: neither depends on who
    reads, when, or what else.

    place: what the names of streams are behind, in messages.
    on_error: ``raise`` the error of a bad sample; ``skip`` it; or ``quarantine`` it too, which is to skip it from then
    on without reading it again.
    """

    def __init__(
        self,
        *,
        sources: Mapping[str, Source],
        uses: Mapping[str, Use],
        seed: int,
        on_error: OnError,
        place: str = "data.streams",
    ) -> None:
        self._sources = sources
        self._place = place
        self._uses = uses
        self._seed = seed
        self._on_error: OnError = on_error
        self._quarantined: dict[tuple[str, int], BadSample] = {}
        self.watch: Callable[[Row], None] | None = None
        """Told of every row before it is read."""

    def __call__(self, row: Row) -> Read:
        """The sample of a row. Raises BadSampleError if it is bad and errors are raised, InputError if all
        `ATTEMPTS` replacements are bad too."""
        bad: list[BadSample] = []
        taken = row
        for attempt in range(ATTEMPTS + 1):
            found = self._try(taken)
            if isinstance(found, Sample):
                return Read(taken, found, tuple(bad))
            bad.append(found)
            word = keyed_words((self._seed, "replacement", row.stream), row.epoch, row.sample, attempt)
            taken = row._replace(sample=int(word[0] % np.uint64(len(self._sources[row.stream]))))
        raise InputError(
            f"{self._place}.{row.stream}: {ATTEMPTS + 1} samples drawn in a row are bad, the last because: "
            f"{bad[-1].message}"
        )

    def quarantine(self, bad: BadSample) -> None:
        """Do not read this sample again."""
        self._quarantined[bad.stream, bad.sample] = bad

    @property
    def streams(self) -> tuple[str, ...]:
        """The names of the streams that it reads."""
        return tuple(self._sources)

    @property
    def quarantined(self) -> tuple[BadSample, ...]:
        """What is not read again."""
        return tuple(self._quarantined.values())

    def length(self, row: Row) -> int:
        """How long a row's text is, in characters; 0 if the sample is bad."""
        source = self._sources[row.stream]
        if isinstance(source, Lengths):
            if self.watch is not None:
                self.watch(row)
            return source.text_length(row.sample, self._drawing(row))
        found = self._try(row)
        return len(found.text or "") if isinstance(found, Sample) else 0

    def place(self, row: Row) -> str:
        """Where a row's sample lies, for messages; it is not read."""
        source = self._sources[row.stream]
        where = f" ({source.place(row.sample)})" if isinstance(source, Located) else ""
        return f"sample {row.sample} of stream {row.stream}{where}"

    def _try(self, row: Row) -> Sample | BadSample:
        known = self._quarantined.get((row.stream, row.sample))
        if known is not None:
            return known
        if self.watch is not None:
            self.watch(row)
        try:
            sample = self._sources[row.stream].sample(row.sample, self._drawing(row))
            check_use(sample, self._uses[row.stream], source=row.stream)
        except BadSampleError as error:
            if self._on_error == "raise":
                raise
            bad = BadSample(row.stream, row.sample, error.source, error.key, error.reason, str(error))
            if self._on_error == "quarantine":
                self.quarantine(bad)
            return bad
        return sample

    def _drawing(self, row: Row) -> Generator:
        """What draws all that is random in a sample."""
        return keyed_generator(self._seed, "sample", *row)


def check_use(sample: Sample, use: Use, *, source: str) -> None:
    """Raise BadSampleError if a sample lacks what is used of it."""
    if use != "images" and sample.text is None:
        raise BadSampleError(
            f"{source}: sample {sample.key} has no text", source=source, key=sample.key, reason="missing-caption"
        )
    if use != "texts" and sample.image is None:
        raise BadSampleError(
            f"{source}: sample {sample.key} has no picture", source=source, key=sample.key, reason="missing-picture"
        )
