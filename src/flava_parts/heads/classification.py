"""A finetuned model: the encoders that a head reads, and the head."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..layers.output import EncoderOutput

if TYPE_CHECKING:
    from ..encoders.text import TextTransformer
    from ..encoders.vision import VisionTransformer
    from ..fusion.transformer import FusionTransformer
    from ..spec import FinetuneSpec
    from .classifier import Classifier


@dataclass(frozen=True, slots=True)
class ClassificationOutput:
    """What a classifier said: ``logits`` (B, V), and the ``loss`` () where there were labels; ``losses`` names it."""

    logits: Tensor
    loss: Tensor | None = None

    @property
    def losses(self) -> dict[str, Tensor]:
        """The loss as ``classification``; nothing without labels."""
        return {} if self.loss is None else {"classification": self.loss}


class FlavaForClassification(nn.Module):
    """FLAVA's encoders, as far as the head reads them, and a head on the clean summary (FLAVA section 4).

    Parts have the names of the slots that they fill in pretraining. ``frozen`` are those that do not learn: they get
    no gradients, and stay in evaluation mode while the others train. ``classes`` are the names of the V classes.
    """

    def __init__(
        self,
        *,
        head: Classifier,
        image_encoder: VisionTransformer | None = None,
        text_encoder: TextTransformer | None = None,
        fusion: FusionTransformer | None = None,
        frozen: Collection[str] = (),
        classes: Sequence[str] = (),
        spec: FinetuneSpec | None = None,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.fusion = fusion
        self.head = head
        self.classes = tuple(classes)
        self.spec = spec
        self._frozen = [part for name in frozen if (part := getattr(self, name)) is not None]
        for part in self._frozen:
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> FlavaForClassification:
        """Training mode (or evaluation mode) for all parts that are not frozen; evaluation mode for those."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        image_attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> ClassificationOutput:
        """The logits of a batch, and the loss if there are labels.

        Args:
            input_ids: texts (B, L).
            pixel_values: images (B, C, H, W).
            attention_mask: (B, L), 1 or true at real words, 0 at padding; all are real if not given.
            token_type_ids: (B, L) segments; all 0 if not given.
            position_ids: (B or 1, L); counted from 0 if not given.
            image_attention_mask: (B, P), 1 or true at patches to attend to; all if not given.
            labels: (B, V) bool, the classes that each sample belongs to.

        What the head does not read is not looked at. Raises ValueError if what it reads is missing.
        """
        image = text = None
        if self.image_encoder is not None:
            if pixel_values is None:
                raise ValueError(f"the head reads {self.head.reads}, but there are no pixel_values")
            image = self.image_encoder(pixel_values, keep=image_attention_mask)
        if self.text_encoder is not None:
            if input_ids is None:
                raise ValueError(f"the head reads {self.head.reads}, but there are no input_ids")
            text = self.text_encoder(input_ids, attention_mask, token_type_ids, position_ids)
        logits = self.head(self._summary(image, text, image_attention_mask, attention_mask))
        return ClassificationOutput(logits, None if labels is None else self.head.loss(logits, labels))

    def _summary(
        self, image: EncoderOutput | None, text: EncoderOutput | None, image_keep: Tensor | None, keep: Tensor | None
    ) -> Tensor:
        """The normed summary (B, D) that the head reads."""
        if self.fusion is not None:
            assert image is not None
            assert text is not None
            fused = self.fusion(image.pre_norm, text.pre_norm, image_keep, keep).last_hidden_state
            return fused[:, self.fusion.layout(patches=0, words=0).summary]
        alone = image or text
        assert alone is not None
        return alone.last_hidden_state[:, 0]

    @torch.inference_mode()
    def classify(self, **inputs: Tensor) -> Tensor:
        """The probability of each class (B, V), from the inputs of `forward`."""
        return self.head.probabilities(self(**inputs).logits)
