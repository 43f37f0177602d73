"""The specs of data: the streams that a run mixes, and the labelled samples of a fine-tuning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from ..fields import Named, Pixels
from ..inputs.specs import TokenizerSpec, ViewsSpec, WordPieceSpec
from ..part import Slot, Spec
from .sources.specs import SourceSpec


class StreamSpec(Spec):
    """One kind of batch: where its samples come from, what of them is used, and how often it comes."""

    source: Slot[SourceSpec]
    """Where the samples come from."""
    use: Literal["pairs", "images", "texts"] = "pairs"
    """What of each sample goes into the batch."""
    ratio: PositiveFloat = 1.0
    """How often a batch comes from this stream, relative to the others (the paper has .70, .15, .15)."""
    losses: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    """The losses computed on these batches; all that apply if not given."""
    batch_size: PositiveInt | None = None
    """Samples of one batch; the run's if not given."""


class DataSpec(Spec):
    """The data of a run: tokenizer, views, and the mixture of streams."""

    tokenizer: Slot[TokenizerSpec] = WordPieceSpec()
    """How texts become ids."""
    views: ViewsSpec = ViewsSpec()
    """How pictures become tensors."""
    streams: Named[StreamSpec]
    """The streams that batches are drawn from, by name; each update takes its batch from one of them."""


class LabelledDataSpec(Spec):
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
