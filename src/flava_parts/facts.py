"""What parts state about themselves, without torch: sizes, vocabularies, and where things lie in a sequence.

One alphabet of shapes, used in every docstring of the package: ``B`` batch, ``P`` patches, ``L`` words (text tokens),
``D`` width (channels of a token), ``V`` vocabulary, ``C`` colour channels, ``H`` and ``W`` pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

IGNORE = -100
"""The label that means: no prediction is asked for here (torch's own default in ``cross_entropy``)."""

Modality = Literal["image", "text"]

Use = Literal["pairs", "images", "texts"]
"""What of each sample goes into a batch."""

MODALITIES: Mapping[Use, frozenset[Modality]] = {
    "pairs": frozenset({"image", "text"}),
    "images": frozenset({"image"}),
    "texts": frozenset({"text"}),
}
"""What the samples of each kind of batch hold."""

Pass = Literal["image", "image_masked", "text", "text_masked", "multimodal", "multimodal_masked"]
"""A run of an encoder over its clean or its masked input."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Patches of an image, or codes for them: ``rows`` x ``columns``, numbered row by row."""

    rows: int
    columns: int

    @property
    def size(self) -> int:
        """How many cells there are (P)."""
        return self.rows * self.columns

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"


@dataclass(frozen=True, slots=True)
class ImageTokens:
    """The sequence an image encoder returns: ``prefix`` summary tokens, then one token a patch; each ``width`` wide."""

    grid: Grid
    prefix: int
    width: int

    @property
    def length(self) -> int:
        """Tokens in all: ``prefix + P``."""
        return self.prefix + self.grid.size


@dataclass(frozen=True, slots=True)
class TextTokens:
    """The sequence a text encoder returns: up to ``length`` tokens, the first a summary; each ``width`` wide."""

    length: int
    width: int
    vocab_size: int


@dataclass(frozen=True, slots=True)
class Codes:
    """What a codebook gives for one image: one of ``vocab_size`` codes for each cell of ``grid``."""

    grid: Grid
    vocab_size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in a fused sequence of ``length`` tokens, ``width`` wide.

    ``summary`` is the position that stands for the pair; ``patches`` and ``words`` are the slices that the masked
    multimodal losses read (``words`` includes the text's own summary token, as the references have it).
    """

    length: int
    width: int
    summary: int
    patches: slice
    words: slice

    @classmethod
    def of(cls, *, own: int, prefix: int, patches: int, words: int, width: int) -> Layout:
        """Lay out: ``own`` tokens of the fusion itself, the image's ``prefix``, its patches, then the words."""
        first = own + prefix
        return cls(
            length=first + patches + words,
            width=width,
            summary=0,
            patches=slice(first, first + patches),
            words=slice(first + patches, first + patches + words),
        )


@dataclass(frozen=True, slots=True)
class Vocab:
    """The ids a tokenizer gives to its special tokens, and which ids continue a word; BERT's by default.

    ``continuations`` are the ids of word pieces that are glued to the one before (``##ing``).
    """

    size: int = 30522
    pad: int = 0
    unknown: int = 100
    summary: int = 101
    separator: int = 102
    mask: int = 103
    continuations: frozenset[int] = field(default=frozenset(), repr=False)

    @property
    def special(self) -> tuple[int, ...]:
        """Ids that are never masked: padding, summary, separator, mask."""
        return (self.pad, self.summary, self.separator, self.mask)


Stream = str
"""The name of a tensor that a loss may read. FLAVA's own are in `Streams`; a plugin may provide others."""


class Streams:
    """The streams that FLAVA provides. A loss lists those it reads, and only what leads to them is computed."""

    IMAGE_SUMMARY: Stream = "image_summary"
    """(B, D) the normed summary token of the clean image."""
    TEXT_SUMMARY: Stream = "text_summary"
    """(B, D) the normed summary token of the clean text."""
    MASKED_PATCHES: Stream = "masked_patches"
    """(B, P, D) the normed patches of the masked image."""
    MASKED_WORDS: Stream = "masked_words"
    """(B, L, D) the normed words of the masked text."""
    FUSED_SUMMARY: Stream = "fused_summary"
    """(B, D) the normed summary of the masked pair."""
    FUSED_PATCHES: Stream = "fused_patches"
    """(B, P, D) the normed patches of the masked pair."""
    FUSED_WORDS: Stream = "fused_words"
    """(B, L, D) the normed words of the masked pair."""
    IMAGE_LABELS: Stream = "image_labels"
    """(B, P) int64: the code of each masked patch of a true pair, `IGNORE` elsewhere."""
    TEXT_LABELS: Stream = "text_labels"
    """(B, L) int64: the id of each masked word of a true pair, `IGNORE` elsewhere."""
    MATCH_LABELS: Stream = "match_labels"
    """(B,) int64: 1 where image and text belong together, 0 where not."""
    MATCHED: Stream = "matched"
    """(B,) bool: the rows that count as true pairs; absent when nobody says (then all rows do)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a loss reads, and the modalities (exactly these) of the batches that it applies to.

    ``at`` names the streams of states that it reads nowhere but where another stream has labels: a masked prediction
    reads ``masked_words`` at ``text_labels``. It may then be given those positions alone, of both.
    """

    streams: frozenset[Stream]
    modalities: frozenset[Modality]
    at: Mapping[Stream, Stream] = field(default_factory=dict[Stream, Stream])


STREAM_PASSES: dict[Stream, Pass] = {
    Streams.IMAGE_SUMMARY: "image",
    Streams.TEXT_SUMMARY: "text",
    Streams.MASKED_PATCHES: "image_masked",
    Streams.MASKED_WORDS: "text_masked",
    Streams.FUSED_SUMMARY: "multimodal_masked",
    Streams.FUSED_PATCHES: "multimodal_masked",
    Streams.FUSED_WORDS: "multimodal_masked",
}
"""Which encoder pass each stream of states is taken from."""


@dataclass(frozen=True, slots=True)
class Provided:
    """A stream of states that an encoder or fusion gives besides FLAVA's own, in `EncoderOutput.streams`.

    It is taken from the pass ``run``, and is (B, ``length``, ``width``), or (B, ``width``) without a length.
    """

    run: Pass
    width: int
    length: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample: (length, D) or (D,)."""
        return (self.width,) if self.length is None else (self.length, self.width)


BUILT_ON: Mapping[Pass, frozenset[Pass]] = {
    "multimodal": frozenset({"image", "text"}),
    "multimodal_masked": frozenset({"image_masked", "text_masked"}),
}
"""The passes whose states another pass begins with."""


def with_bases(passes: Iterable[Pass]) -> set[Pass]:
    """Passes, and those that they are built on."""
    found = set(passes)
    return found.union(*(BUILT_ON.get(name, frozenset()) for name in found))


def passes_to(streams: Iterable[Stream], stream_passes: Mapping[Stream, Pass]) -> set[Pass]:
    """The passes that lead to streams of states, by what ``stream_passes`` says that each is taken from."""
    return with_bases(stream_passes[stream] for stream in streams if stream in stream_passes)


Size = int | tuple[int, int]
"""A side in pixels (square), or (height, width)."""


def pair(size: Size) -> tuple[int, int]:
    """``size`` as (height, width)."""
    return (size, size) if isinstance(size, int) else size
