"""The spec of the sigmoid contrastive loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt

from flava_parts.facts import Modality, Streams
from flava_parts.losses.specs import LossSpec

if TYPE_CHECKING:
    from flava_parts.wiring import Wiring

    from .sigmoid import SigmoidContrastive


class SigmoidContrastiveSpec(LossSpec):
    """Each pair of the batch judged alone, by a sigmoid (SigLIP; Zhai et al. 2023, algorithm 1)."""

    type: Literal["siglip.sigmoid"] = "siglip.sigmoid"
    reads = frozenset({Streams.IMAGE_SUMMARY, Streams.TEXT_SUMMARY})
    needs: ClassVar[frozenset[Modality]] = frozenset({"image", "text"})

    projection: PositiveInt = 768
    """Width of the shared space."""
    logit_scale: float = 2.3026
    """Natural logarithm of the factor that cosines start with, ln(10) (section 3.2)."""
    logit_bias: float = -10.0
    """What is added to the scaled cosines at first: nearly all pairs are negatives (section 3.2)."""
    chunk: PositiveInt = 1024
    """Texts that are compared with all images of a rank at once; it bounds the memory, and changes nothing else."""
    init_std: PositiveFloat = 0.02
    """Standard deviation of the normal distribution that weights start from."""

    def build(self, *, wiring: Wiring) -> SigmoidContrastive:
        from .sigmoid import SigmoidContrastive

        return SigmoidContrastive(
            image_width=wiring.stream_width(Streams.IMAGE_SUMMARY),
            text_width=wiring.stream_width(Streams.TEXT_SUMMARY),
            **self.arguments(),
        )
