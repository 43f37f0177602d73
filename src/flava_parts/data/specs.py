"""The specs of data: sources of pictures and texts, and the streams that a run mixes."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from ..facts import Modality
from ..fields import Named
from ..inputs.specs import TokenizerSpec, ViewsSpec, WordPieceSpec
from ..part import PartSpec, Slot, Spec

if TYPE_CHECKING:
    from .emoji import Emoji
    from .glosses import Glosses


class SourceSpec(PartSpec):
    """A source: a numbered set of samples, each a picture, a text, or both."""

    kind: ClassVar[str] = "source"

    @property
    @abstractmethod
    def provides(self) -> frozenset[Modality]:
        """What each sample holds."""

    @abstractmethod
    def build(self) -> Emoji | Glosses:
        """The source, opened."""


class EmojiSpec(SourceSpec):
    """The emoji that come with the package: 1,026 concepts in the drawings of two vendors, with captions and tags."""

    type: Literal["flava.emoji"] = "flava.emoji"
    split: Literal["train", "held_out"] = "train"
    """train: 1,847 drawings; held_out: the 205 Twemoji drawings whose Noto twins are in train."""
    tags: NonNegativeInt = 3
    """Up to this many tags are drawn at random and put behind the caption in training."""

    @property
    def provides(self) -> frozenset[Modality]:
        return frozenset({"image", "text"})

    def build(self) -> Emoji:
        from .emoji import Emoji

        return Emoji(**self.arguments())


class GlossesSpec(SourceSpec):
    """The 20,000 dictionary definitions of WordNet that come with the package."""

    type: Literal["flava.glosses"] = "flava.glosses"

    @property
    def provides(self) -> frozenset[Modality]:
        return frozenset({"text"})

    def build(self) -> Glosses:
        from .glosses import Glosses

        return Glosses(**self.arguments())


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
