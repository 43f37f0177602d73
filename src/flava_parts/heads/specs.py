"""The specs of heads: what a finetuned model answers, from which of FLAVA's summaries."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from pydantic import PositiveFloat, PositiveInt

from ..facts import Modality
from ..fields import Activation, Rate
from ..part import PartSpec

if TYPE_CHECKING:
    from .classifier import Classifier, LinearClassifier, MLPClassifier

EncoderSlot = Literal["image_encoder", "text_encoder", "fusion"]
"""A slot of a model that a head's states pass through."""

ENCODERS: tuple[EncoderSlot, ...] = get_args(EncoderSlot)
"""Those slots: their linear layers are hidden ones, where states go in and states come out."""

_NEEDS: dict[str, frozenset[Modality]] = {
    "image": frozenset({"image"}),
    "text": frozenset({"text"}),
    "fused": frozenset({"image", "text"}),
}
_SLOTS: dict[str, tuple[EncoderSlot, ...]] = {
    "image": ("image_encoder",),
    "text": ("text_encoder",),
    "fused": ("image_encoder", "text_encoder", "fusion"),
}


class HeadSpec(PartSpec):
    """A head: the normed summary (B, D) of images, texts, or pairs to logits (B, V), one for each class."""

    kind: ClassVar[str] = "head"

    reads: Literal["image", "text", "fused"] = "fused"
    """Whose summary: the image encoder's, the text encoder's, or the fused pair's."""
    multi_label: bool = False
    """Whether a sample belongs to any number of classes (binary cross-entropy), or to one (cross-entropy)."""

    @property
    def needs(self) -> frozenset[Modality]:
        """The modalities that a sample must have."""
        return _NEEDS[self.reads]

    @property
    def slots(self) -> tuple[EncoderSlot, ...]:
        """The slots of the model that lead to what the head reads."""
        return _SLOTS[self.reads]

    @abstractmethod
    def build(self, *, width: int, classes: int) -> Classifier:
        """The module for summaries of that width and so many classes, on torch's current default device."""


class LinearClassifierSpec(HeadSpec):
    """One linear layer on the summary."""

    type: Literal["flava.linear_classifier"] = "flava.linear_classifier"
    dropout: Rate = 0.0
    """Dropout probability of the summary."""
    init_std: PositiveFloat = 0.02
    """Standard deviation of the normal distribution that weights start from."""

    def build(self, *, width: int, classes: int) -> LinearClassifier:
        from .classifier import LinearClassifier

        return LinearClassifier(width=width, classes=classes, **self.arguments())


class MLPClassifierSpec(HeadSpec):
    """Two linear layers around a non-linearity (FLAVA section 4 and appendix: 1,536 hidden channels)."""

    type: Literal["flava.mlp_classifier"] = "flava.mlp_classifier"
    hidden: PositiveInt = 1536
    """Channels between the two layers."""
    activation: Activation = "relu"
    """The non-linearity between them (torchmultimodal's)."""
    dropout: Rate = 0.0
    """Dropout probability of the hidden channels (torchmultimodal has 0.5)."""
    init_std: PositiveFloat = 0.02
    """Standard deviation of the normal distribution that weights start from."""

    def build(self, *, width: int, classes: int) -> MLPClassifier:
        from .classifier import MLPClassifier

        return MLPClassifier(width=width, classes=classes, **self.arguments())
