"""One sample as it is stored: a picture's file that nobody has decoded, all captions, and labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator

from ...inputs.pictures import PictureError, open_picture, rgb_or_rgba
from ...inputs.views import Views
from .bad_sample import BadSampleError
from .sample import Sample
from .source import Source
from .specs import SourceSpec


class Record(NamedTuple):
    """What is stored of one sample."""

    key: str
    """What the sample is called in its source."""
    picture: bytes | None = None
    """The content of a picture's file."""
    captions: tuple[str, ...] | None = None
    """All texts of it, of which one is drawn each time; none of them is blank."""
    labels: tuple[int, ...] = ()
    """The classes that it belongs to."""


class Records(ABC):
    """A source whose samples are stored as files or rows: `record` reads one, `sample` decodes it and draws a caption.

    name: what the source is called in messages. A built source can be sent to other processes, and forked: it holds
    names and places, and opens files when they are asked for.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.least_side: int | None = None
        """JPEG files may be decoded smaller as long as both sides keep so many pixels; never if None."""

    @abstractmethod
    def __len__(self) -> int:
        """How many samples there are."""

    @abstractmethod
    def record(self, index: int) -> Record:
        """The record at an index, as it is stored. Raises BadSampleError if it cannot be used."""

    def caption_lengths(self, index: int) -> Sequence[int]:
        """How many characters, or about so many, each caption of a sample has; none if it cannot be used.

        A source whose records have pictures finds them without those.
        """
        try:
            return list(map(len, self.record(index).captions or ()))
        except BadSampleError:
            return ()

    def text_length(self, index: int, generator: Generator | None = None) -> int:
        """The length of the caption that `sample` draws with such a generator, as `caption_lengths` has it, or 0."""
        lengths = self.caption_lengths(index)
        return lengths[_drawn(len(lengths), generator)] if lengths else 0

    def sample(self, index: int, generator: Generator | None = None) -> Sample:
        """The sample at an index: its picture decoded, and its first caption or, with a generator, any of them.

        Raises BadSampleError if it cannot be used.
        """
        return self.decoded(self.record(index), generator)

    def decoded(self, record: Record, generator: Generator | None = None) -> Sample:
        """The sample of a record, as `sample` has it."""
        image = None
        if record.picture is not None:
            try:
                image = rgb_or_rgba(open_picture(record.picture, at_least=self.least_side))
            except PictureError as error:
                raise self.bad(record.key, error.reason, str(error).removeprefix("picture: ")) from None
        text = None
        if record.captions is not None:
            text = record.captions[_drawn(len(record.captions), generator)]
        return Sample(record.key, image, text, record.labels)

    def bad(
        self, key: str, reason: str, message: str, *, source: str | None = None, place: str | None = None
    ) -> BadSampleError:
        """The error about one sample of this source.

        source: the one of its files that the sample is in, if there are several. place: what the message begins
        with; source and key if not given.
        """
        source = source or self.name
        return BadSampleError(f"{place or f'{source}/{key}'}: {message}", source=source, key=key, reason=reason)


def opened(spec: SourceSpec, views: Views) -> Source:
    """The source of a spec, its files of pictures decoded no larger than the views ask for."""
    source = spec.build()
    if isinstance(source, Records):
        source.least_side = views.least_side
    return source


def _drawn(count: int, generator: Generator | None) -> int:
    """Which of so many captions is taken."""
    return int(torch.randint(count, (), generator=generator)) if generator is not None and count > 1 else 0
