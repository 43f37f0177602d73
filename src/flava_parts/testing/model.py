"""The small FLAVA that stands around a part on the bench."""

from __future__ import annotations

from ..codebooks.specs import KMeansSpec
from ..encoders.specs import TextTransformerSpec, ViTSpec
from ..fusion.specs import FusionTransformerSpec
from ..maskers.specs import BlockMaskerSpec
from ..spec import FlavaSpec


def small_model() -> FlavaSpec:
    """16 patches, texts of 12 tokens, widths of 8; its vocabulary holds BERT's special ids."""
    return FlavaSpec(
        image_encoder=ViTSpec(image_size=16, patch_size=4, width=8, depth=1, heads=2),
        text_encoder=TextTransformerSpec(width=8, depth=1, heads=2, vocab_size=200, length=12),
        fusion=FusionTransformerSpec(width=8, depth=1, heads=2),
        codebook=KMeansSpec(image_size=16, patch_size=4, vocab_size=11, iterations=1),
        image_masker=BlockMaskerSpec(total=6, min_group=2),
    )
