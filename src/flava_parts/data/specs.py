"""The specs of data: the streams that a run mixes, and the labelled samples of a fine-tuning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ..facts import Use
from ..fields import Named, Pixels, Probability
from ..inputs.specs import TokenizerSpec, ViewsSpec, WordPieceSpec
from ..part import Slot, Spec, fault
from .sources.specs import SourceSpec


class StreamSpec(Spec):
    """One kind of batch: where its samples come from, what of them is used, and how often it comes."""

    source: Slot[SourceSpec]
    """Where the samples come from."""
    use: Use = "pairs"
    """What of each sample goes into the batch."""
    ratio: PositiveFloat = 1.0
    """How often a batch comes from this stream, relative to the others (the paper has .70, .15, .15)."""
    losses: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    """The losses computed on these batches; all that apply if not given."""
    batch_size: PositiveInt | None = None
    """Samples of one batch; the run's if not given."""
    bucket: PositiveInt | None = None
    """Texts of like length share a batch: the samples of so many batches in a row are sorted by length. Not sorted if
    not given."""
    pack: bool = False
    """Whether short texts share rows, each attending to itself alone. For losses that read masked words and nothing
    else of a text, as `flava.mlm` does."""

    @model_validator(mode="after")
    def _texts_are_sorted_and_packed(self) -> StreamSpec:
        if self.bucket is not None and self.use == "images":
            raise fault("bucket", "images have no texts whose lengths could be alike; leave it out")
        if self.pack and self.use != "texts":
            raise fault("pack", f"{self.use} have one sample a row; packing is for use: texts")
        return self


class MixtureSpec(Spec):
    """How streams take turns."""

    by: Literal["update", "example"] = "update"
    """update: each update takes its whole batch from one stream (the paper). example: each row of a batch may come
    from another stream; streams that differ in use, losses, batch size, bucket or packing do not share batches."""
    temperature: PositiveFloat = 1.0
    """A stream comes in proportion to ratio ** (1 / temperature): above 1 evens streams out."""


class BadSpec(Spec):
    """How many samples may be bad before a run stops."""

    rate: Probability = 0.01
    """A run stops when more than this share of the last samples is bad ..."""
    last: PositiveInt = 10_000
    """... among so many samples ..."""
    least: PositiveInt = 100
    """... and they are at least so many."""


class ReadSpec(Spec):
    """How samples are read, whatever they are for."""

    workers: NonNegativeInt = 0
    """Processes that prepare batches; 0: a thread of the process that trains. Batches do not depend on it."""
    prefetch: PositiveInt = 2
    """Batches that each of them prepares ahead."""
    start_method: Literal["spawn", "forkserver"] = "spawn"
    """How they are started; the system has to know it."""
    timeout: PositiveFloat = 120.0
    """Seconds that are waited for a batch of theirs."""
    on_error: Literal["raise", "skip", "quarantine"] = "skip"
    """What becomes of a sample that cannot be used. raise: the run ends. skip: another of its stream takes its place,
    and `bad_samples.jsonl` in the run's folder tells. quarantine: it is also not read again."""
    bad: BadSpec = BadSpec()
    """How many of them are too many."""


class DataSpec(ReadSpec):
    """The data of a run: tokenizer, views, and the mixture of streams."""

    tokenizer: Slot[TokenizerSpec] = WordPieceSpec()
    """How texts become ids."""
    views: ViewsSpec = ViewsSpec()
    """How pictures become tensors."""
    streams: Named[StreamSpec]
    """The streams that batches are drawn from, by name."""
    mixture: MixtureSpec = MixtureSpec()
    """How they take turns."""
    codes: str | None = None
    """A folder that `flava-parts data tokenize` wrote: the codes of masked patches are read there, not computed."""
    pad_multiple: PositiveInt = 1
    """Texts are padded to the longest of their batch, and on to a multiple of this many tokens."""

    @model_validator(mode="after")
    def _paddings_fit(self) -> DataSpec:
        if self.tokenizer.length % self.pad_multiple:
            raise fault(
                "pad_multiple", f"{self.pad_multiple} does not divide the tokenizer's length, {self.tokenizer.length}"
            )
        return self

    @property
    def shares(self) -> dict[str, float]:
        """How often each stream comes, relative to the most frequent."""
        largest = max(stream.ratio for stream in self.streams.values())
        return {
            name: (stream.ratio / largest) ** (1 / self.mixture.temperature) for name, stream in self.streams.items()
        }

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The names of the streams that share their batches: by update, each alone."""
        found: dict[object, list[str]] = {}
        for name, stream in self.streams.items():
            alike = (stream.use, stream.losses, stream.batch_size, stream.bucket, stream.pack)
            found.setdefault(alike if self.mixture.by == "example" else name, []).append(name)
        return tuple(map(tuple, found.values()))


class LabelledDataSpec(ReadSpec):
    """The data of a fine-tuning: labelled samples, and how they become tensors."""

    train: Slot[SourceSpec]
    """The labelled samples that are learnt from."""
    held_out: Slot[SourceSpec] | None = None
    """The labelled samples that the finished model is measured on; nothing is measured if not given."""
    classes: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    """The names of the classes; those of the source if not given."""
    tokenizer: Slot[TokenizerSpec] | None = None
    """How texts become ids; the pretrained model's if not given."""
    views: ViewsSpec | None = None
    """How pictures become tensors; the pretrained model's if not given."""
    image_size: Pixels | None = None
    """Side of the pictures in pixels, or [height, width]; the image encoder's own if not given. Its positions are
    interpolated to another (the paper fine-tunes VQAv2 at 480)."""
