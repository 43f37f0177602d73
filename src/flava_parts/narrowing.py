"""Which positions of each pass the losses read: all that its last block has to compute."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from .facts import IGNORE, Layout, Pass, Reading, Stream, Streams
from .layers.attention import at

SUMMARIES = frozenset({Streams.IMAGE_SUMMARY, Streams.TEXT_SUMMARY, Streams.FUSED_SUMMARY})
"""The streams that are one position: their pass's first."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Where labels (B, N) are: ``positions`` (B, R), R the most that a row has; not ``real`` where a row has fewer.

    ``rows`` (up to B,) are those that have any.
    """

    positions: Tensor
    real: Tensor
    rows: Tensor

    @classmethod
    def where(cls, has_label: Tensor) -> Labelled:
        """From (B, N) bool. Waits for the device, since R depends on what is there."""
        counts = has_label.sum(dim=1)
        longest = max(1, int(counts.max()))
        positions = has_label.int().argsort(dim=1, descending=True, stable=True)[:, :longest]
        real = torch.arange(longest, device=counts.device) < counts[:, None]
        return cls(positions, real, counts.nonzero()[:, 0])

    def __call__(self, labels: Tensor) -> Tensor:
        """Labels (B, N) as (B, R), `IGNORE` where a row has fewer."""
        return torch.where(self.real, at(labels, self.positions), IGNORE)


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What last blocks may leave out; nothing by default.

    ``passes`` need to give only their summary and the positions with labels. ``labelled`` says where those are, for
    `Streams.IMAGE_LABELS` among the patches and `Streams.TEXT_LABELS` among the words, as far as a loss reads them.
    ``present`` (B, L) is true at words that a loss reads or another word attends to; None if all may be.
    """

    passes: frozenset[Pass] = frozenset()
    labelled: Mapping[Stream, Labelled] = field(default_factory=dict)
    present: Tensor | None = None

    def summary(self, name: Pass, device: torch.device) -> Tensor | None:
        """What a clean pass of one encoder is to give (1,), or None for all of it."""
        return torch.zeros(1, dtype=torch.long, device=device) if name in self.passes else None

    def labels(self, name: Pass, stream: Stream, *, first: int = 0) -> Tensor | None:
        """What a masked pass of one encoder is to give (B, R), or None for all; ``first`` is where its patches, or
        words, begin."""
        return self.labelled[stream].positions + first if name in self.passes else None

    def fused(self, name: Pass, whole: Layout, device: torch.device) -> tuple[Tensor | None, Layout]:
        """What a pass of the fusion is to give (1 + R,) or (B, 1 + R), and how that is laid out; None for all of it."""
        if name not in self.passes:
            return None, whole
        read = torch.tensor([whole.summary], device=device)
        slices: list[slice] = []
        for stream, part in ((Streams.IMAGE_LABELS, whole.patches), (Streams.TEXT_LABELS, whole.words)):
            start = read.shape[-1]
            if stream in self.labelled:
                positions = self.labelled[stream].positions + part.start
                read = torch.cat([read.expand(len(positions), -1), positions], dim=1)
            slices.append(slice(start, read.shape[-1]))
        return read, replace(whole, length=read.shape[-1], summary=0, patches=slices[0], words=slices[1])


def takes(part: nn.Module | None, argument: str) -> bool:
    """Whether a part can do what an argument asks for; a plugin's encoder need not leave out what is not read."""
    return part is not None and argument in inspect.signature(part.forward).parameters


def present(
    keep: Tensor | None,
    labels: Tensor | None,
    readings: Iterable[Reading],
    stream_passes: Mapping[Stream, Pass],
) -> Tensor | None:
    """The words (B, L) that one attends to, that have a label, or that stand for their text; None if these losses read
    others as well. ``keep`` (B, L) and ``labels`` (B, L) are as the model's forward pass was given them."""
    if keep is None or keep.dim() != 2:
        return None
    for reading in readings:
        for stream in reading.streams:
            of_words = stream_passes.get(stream) not in (None, "image", "image_masked")
            at_labels = reading.at.get(stream) in (Streams.IMAGE_LABELS, Streams.TEXT_LABELS)
            if of_words and stream not in SUMMARIES and not at_labels:
                return None
    real = keep.bool()
    found = real if labels is None else real | (labels != IGNORE)
    found = found | ~real.any(dim=1, keepdim=True)  # in a text without any word, all attend to all
    return found | (torch.arange(found.shape[1], device=found.device) == 0)


def narrow(
    readings: Sequence[Reading],
    able: Collection[Pass],
    has_label: Mapping[Stream, Tensor],
    stream_passes: Mapping[Stream, Pass],
) -> Narrowing:
    """What the passes that are ``able`` to leave something out have to give, if nobody but these losses reads them.

    ``has_label`` says where labels are, (B, N) bool, ``stream_passes`` which pass gives a stream; a pass whose labelled
    positions it does not tell is given whole.
    """
    passes: set[Pass] = set(able)
    streams = set(has_label)
    before = None
    while before != (len(passes), len(streams)):  # each may need the other
        before = len(passes), len(streams)
        passes = {
            name
            for name in passes
            if all(
                stream in SUMMARIES or reading.at.get(stream) in streams
                for reading in readings
                for stream in reading.streams
                if stream_passes.get(stream) == name
            )
        }
        streams = {
            labels
            for labels in streams
            if all(
                passes >= {stream_passes[states] for states, where in reading.at.items() if where == labels} != set()
                for reading in readings
                if labels in reading.streams
            )
        }
    return Narrowing(frozenset(passes), {labels: Labelled.where(has_label[labels]) for labels in streams})
