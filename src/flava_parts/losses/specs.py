"""The specs of losses: which streams each reads, and FLAVA's six (FLAVA section 3.2)."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from ..facts import Modality, Reading, Stream, Streams
from ..fields import Activation
from ..part import PartSpec, fault

if TYPE_CHECKING:
    from torch import nn

    from ..wiring import Wiring
    from .contrastive import GlobalContrastive
    from .masked_prediction import MaskedPrediction
    from .matching import ImageTextMatching


class LossSpec(PartSpec):
    """A loss with its head: streams to a `LossValue`, whose value already carries the weight."""

    kind: ClassVar[str] = "loss"
    reads: ClassVar[frozenset[Stream]]
    """The streams that the loss needs."""
    needs: ClassVar[frozenset[Modality]]
    """The modalities a batch holds, exactly, for the loss to apply: masked image modelling is for images alone."""

    weight: NonNegativeFloat = 1.0
    """What the loss is multiplied by; at 0 it is not computed."""

    @property
    def reading(self) -> Reading:
        """What the loss reads, as one fact."""
        return Reading(streams=self.reads, modalities=self.needs)

    @abstractmethod
    def build(self, *, wiring: Wiring) -> nn.Module:
        """The module, on torch's current default device."""


class MaskedPredictionSpec(LossSpec):
    """Cross-entropy of BERT's prediction head (dense, activation, norm, decoder) at the masked positions."""

    states: ClassVar[Stream]
    """The stream of states that the head reads."""
    labels: ClassVar[Stream]
    """The stream of labels that it is compared with."""

    activation: Activation = "gelu"
    """The head's non-linearity."""
    norm_eps: PositiveFloat = 1e-12
    """The epsilon of the head's layer norm (torchmultimodal has 1e-5)."""
    chunk_size: PositiveInt | None = None
    """Labelled positions whose logits are held at a time, made again for the gradient; all if not given."""
    init_std: PositiveFloat = 0.02
    """Standard deviation of the normal distribution that weights start from."""

    @property
    def reading(self) -> Reading:
        return Reading(streams=self.reads, modalities=self.needs, at={self.states: self.labels})

    def build(self, *, wiring: Wiring) -> MaskedPrediction:
        from .masked_prediction import MaskedPrediction

        return MaskedPrediction(
            states=self.states,
            labels=self.labels,
            width=wiring.stream_width(self.states),
            vocab_size=wiring.label_count(self.labels),
            **self.arguments(),
        )


class MIMSpec(MaskedPredictionSpec):
    """Masked image modelling: the codes of hidden patches, from the image alone."""

    type: Literal["flava.mim"] = "flava.mim"
    states = Streams.MASKED_PATCHES
    labels = Streams.IMAGE_LABELS
    reads = frozenset({Streams.MASKED_PATCHES, Streams.IMAGE_LABELS})
    needs: ClassVar[frozenset[Modality]] = frozenset({"image"})


class MLMSpec(MaskedPredictionSpec):
    """Masked language modelling: the ids of hidden words, from the text alone."""

    type: Literal["flava.mlm"] = "flava.mlm"
    states = Streams.MASKED_WORDS
    labels = Streams.TEXT_LABELS
    reads = frozenset({Streams.MASKED_WORDS, Streams.TEXT_LABELS})
    needs: ClassVar[frozenset[Modality]] = frozenset({"text"})


class MMMImageSpec(MaskedPredictionSpec):
    """Masked multimodal modelling, image: the codes of hidden patches, from the masked pair."""

    type: Literal["flava.mmm_image"] = "flava.mmm_image"
    states = Streams.FUSED_PATCHES
    labels = Streams.IMAGE_LABELS
    reads = frozenset({Streams.FUSED_PATCHES, Streams.IMAGE_LABELS})
    needs: ClassVar[frozenset[Modality]] = frozenset({"image", "text"})


class MMMTextSpec(MaskedPredictionSpec):
    """Masked multimodal modelling, text: the ids of hidden words, from the masked pair."""

    type: Literal["flava.mmm_text"] = "flava.mmm_text"
    states = Streams.FUSED_WORDS
    labels = Streams.TEXT_LABELS
    reads = frozenset({Streams.FUSED_WORDS, Streams.TEXT_LABELS})
    needs: ClassVar[frozenset[Modality]] = frozenset({"image", "text"})


class ITMSpec(LossSpec):
    """Image-text matching: whether image and text belong together, from the masked pair's summary."""

    type: Literal["flava.itm"] = "flava.itm"
    reads = frozenset({Streams.FUSED_SUMMARY, Streams.MATCH_LABELS})
    needs: ClassVar[frozenset[Modality]] = frozenset({"image", "text"})

    init_std: PositiveFloat = 0.02
    """Standard deviation of the normal distribution that weights start from."""
    all_negative: Literal["none", "as_positive"] = "none"
    """In a batch without a true pair: `none` counts for the contrastive and MMM losses, or all do, `as_positive`."""

    def build(self, *, wiring: Wiring) -> ImageTextMatching:
        from .matching import ImageTextMatching

        return ImageTextMatching(width=wiring.stream_width(Streams.FUSED_SUMMARY), **self.arguments())


class GlobalContrastiveSpec(LossSpec):
    """Global contrastive loss: InfoNCE over the pairs of all ranks (Radford et al. 2021; FLAVA section 3.2)."""

    type: Literal["flava.global_contrastive"] = "flava.global_contrastive"
    reads = frozenset({Streams.IMAGE_SUMMARY, Streams.TEXT_SUMMARY})
    needs: ClassVar[frozenset[Modality]] = frozenset({"image", "text"})

    projection: PositiveInt = 768
    """Width of the shared space (facebook/flava-full has 768, the paper's table A.1 512)."""
    logit_scale: float = 2.6592
    """Natural logarithm of the factor that cosines start with, ln(1 / 0.07)."""
    min_logit_scale: float = 0.0
    """The scale is clamped to at least this, out of place."""
    max_logit_scale: float = 4.6052
    """The scale is clamped to at most this, ln(100), out of place."""
    backprop: Literal["global", "local", "none"] = "global"
    """Where gradients go through the gathered rows: to all ranks; only to this rank's; to none."""
    chunk_size: PositiveInt | None = None
    """Rows of logits held at a time, made again for the gradient: less memory, more time; all rows if not given."""
    init_std: PositiveFloat = 0.02
    """Standard deviation of the normal distribution that weights start from."""

    @model_validator(mode="after")
    def _scale_is_a_range(self) -> GlobalContrastiveSpec:
        if self.min_logit_scale > self.max_logit_scale:
            raise fault("max_logit_scale", f"{self.max_logit_scale} is below min_logit_scale, {self.min_logit_scale}")
        return self

    def build(self, *, wiring: Wiring) -> GlobalContrastive:
        from .contrastive import GlobalContrastive

        return GlobalContrastive(
            image_width=wiring.stream_width(Streams.IMAGE_SUMMARY),
            text_width=wiring.stream_width(Streams.TEXT_SUMMARY),
            **self.arguments(),
        )
