"""What the whole model returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from .layers.output import EncoderOutput


@dataclass(frozen=True, slots=True)
class Encoded:
    """The states of the clean or masked inputs: of the image, of the text, and of the pair where there are both."""

    image: EncoderOutput | None = None
    text: EncoderOutput | None = None
    multimodal: EncoderOutput | None = None


@dataclass(frozen=True, slots=True)
class PairScores:
    """How well B images and B texts fit, pair by pair: cosine of the embeddings and probability of a match, (B,)."""

    similarity: Tensor
    match_probability: Tensor | None


@dataclass(frozen=True, slots=True)
class AllScores:
    """How well N images and M texts fit: cosines (N, M), and match probabilities (N, M), or (n,) of n chosen pairs."""

    similarity: Tensor
    match_probability: Tensor | None


@dataclass(frozen=True, slots=True)
class Ranking:
    """For each of Q images the k best of the texts, or for each of Q texts the k best of the images, the best first.

    ``indices`` (Q, k) int64 into the candidates, their ``similarity`` (Q, k), by which they are in order, and
    ``match_probability`` (Q, k), None if the model has no matching loss.
    """

    indices: Tensor
    similarity: Tensor
    match_probability: Tensor | None


@dataclass(frozen=True, slots=True)
class FlavaOutput:
    """What a pretraining step computed.

    ``loss`` () is the sum of ``losses``, which carry their weights; ``counts`` says how many rows each is a mean of.
    ``logits`` holds what the losses' heads said, ``streams`` what the losses read. The states are those of the passes
    that ran; no row is left out.
    """

    loss: Tensor | None = None
    losses: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, Tensor] = field(default_factory=dict)
    logits: dict[str, Tensor | tuple[Tensor, Tensor]] = field(default_factory=dict)
    streams: dict[str, Tensor] = field(default_factory=dict)
    image: EncoderOutput | None = None
    image_masked: EncoderOutput | None = None
    text: EncoderOutput | None = None
    text_masked: EncoderOutput | None = None
    multimodal: EncoderOutput | None = None
    multimodal_masked: EncoderOutput | None = None

    def _logits_of(self, loss: str) -> Tensor | None:
        logits = self.logits.get(loss)
        return logits if isinstance(logits, Tensor) else None

    def _contrastive(self, index: int) -> Tensor | None:
        logits = self.logits.get("global_contrastive")
        return logits[index] if isinstance(logits, tuple) else None

    @property
    def mim_logits(self) -> Tensor | None:
        """(n, V) at the masked patches of images alone; (B, P, V) with ``output_logits``."""
        return self._logits_of("mim")

    @property
    def mlm_logits(self) -> Tensor | None:
        """(n, V) at the masked words of texts alone; (B, L, V) with ``output_logits``."""
        return self._logits_of("mlm")

    @property
    def mmm_image_logits(self) -> Tensor | None:
        """(n, V) at the masked patches of pairs; (B, P, V) with ``output_logits``."""
        return self._logits_of("mmm_image")

    @property
    def mmm_text_logits(self) -> Tensor | None:
        """(n, V) at the masked words of pairs; (B, L, V) with ``output_logits``."""
        return self._logits_of("mmm_text")

    @property
    def itm_logits(self) -> Tensor | None:
        """(B, 2): mismatch, match."""
        return self._logits_of("itm")

    @property
    def contrastive_logits_per_image(self) -> Tensor | None:
        """(B, B x ranks): each image against all texts."""
        return self._contrastive(0)

    @property
    def contrastive_logits_per_text(self) -> Tensor | None:
        """(B, B x ranks): each text against all images."""
        return self._contrastive(1)
