"""The specs of inputs: how text becomes ids, and how an image becomes its two views."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Le
from pydantic import Field, PositiveFloat, PositiveInt

from ..facts import Vocab
from ..fields import Probability
from ..part import PartSpec, Spec

if TYPE_CHECKING:
    from .wordpiece import WordPiece

Channels3 = Annotated[tuple[float, float, float], Field(strict=False)]
Stds3 = Annotated[tuple[PositiveFloat, PositiveFloat, PositiveFloat], Field(strict=False)]


class TokenizerSpec(PartSpec):
    """A tokenizer: texts to ids (B, L), which are real (B, L), and which are special (B, L)."""

    kind: ClassVar[str] = "tokenizer"
    length: PositiveInt

    @abstractmethod
    def vocab(self) -> Vocab:
        """The vocabulary's size and special ids (reads the vocabulary, not torch)."""

    @abstractmethod
    def build(self) -> WordPiece:
        """The tokenizer."""


class WordPieceSpec(TokenizerSpec):
    """BERT's uncased WordPiece (Devlin et al. 2019), over the vocabulary that comes with the package or another."""

    type: Literal["flava.wordpiece"] = "flava.wordpiece"
    vocabulary: str | None = None
    """A vocab.txt, one token a line; bert-base-uncased's if not given."""
    lowercase: bool = True
    """Whether case and accents are dropped."""
    length: PositiveInt = 77
    """The longest text in tokens, summary and separator included; longer ones are cut."""

    def vocab(self) -> Vocab:
        from .vocabulary import read_vocabulary, vocab_of

        return vocab_of(read_vocabulary(self.vocabulary))

    def build(self) -> WordPiece:
        from .wordpiece import WordPiece

        return WordPiece(**self.arguments())


class ViewsSpec(Spec):
    """How one picture becomes the encoder's view and the codebook's view of the same crop (FLAVA appendix B)."""

    mean: Channels3 = (0.48145466, 0.4578275, 0.40821073)
    """Subtracted from each channel of the encoder's view (CLIP's)."""
    std: Stds3 = (0.26862954, 0.26130258, 0.27577711)
    """Each channel of the encoder's view is divided by it (CLIP's)."""
    crop_scale: Annotated[tuple[float, float], Field(strict=False)] = (0.9, 1.0)
    """In training: smallest and largest share of the area that the shared random crop keeps."""
    flip: Probability = 0.5
    """In training: probability that both views are mirrored."""
    background: Annotated[int, Ge(0), Le(255)] = 255
    """Grey level behind transparent pictures."""
    backend: Literal["pil", "torchvision"] = "pil"
    """Who resizes: Pillow, or torchvision, as the two image processors of transformers do."""
    shrink_on_load: bool = False
    """JPEG files are decoded at a half, a quarter or an eighth of their size where no crop is enlarged by that: faster,
    and close to, but not equal to, the reference."""
