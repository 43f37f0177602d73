"""torchmultimodal's state dicts: they come without a config, so the spec is read off their shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from torch import Tensor

from ..codebooks.specs import DVAESpec
from ..encoders.specs import TextTransformerSpec, ViTSpec
from ..errors import InputError, Problem
from ..facts import pair
from ..fusion.specs import FusionTransformerSpec
from ..losses.specs import GlobalContrastiveSpec, ITMSpec, LossSpec, MIMSpec, MLMSpec, MMMImageSpec, MMMTextSpec
from ..spec import FlavaSpec
from ..wiring import parts_of

HEAD_NORM_EPS = 1e-5
"""The epsilon of the prediction heads' layer norms, which is not that of the encoders."""

LOGIT_SCALE = math.log(1 / 0.07)
"""Where the contrastive scale starts. It belongs to the losses, so a file of the bare model has none."""

_HEAD_WIDTH = 64


def spec_of_tensors(tensors: Mapping[str, Tensor], heads: int | None = None) -> FlavaSpec:
    """The model of torchmultimodal whose weights these are, under this package's names.

    Widths, depths and vocabularies are those of the tensors, the image is square; ``heads`` cannot be seen in them:
    64 channels each if not given. What torchmultimodal fixes in its code: heads' norms have an epsilon of 1e-5, padding
    is not hidden from the fusion, and a batch without a true pair counts as all true. Raises InputError if a weight
    that says so is missing or has no such shape, or the heads do not divide a width.
    """
    shapes = _Shapes((name, tuple(value.shape)) for name, value in tensors.items())
    try:
        return _spec(shapes, heads)
    except (IndexError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"weights of unexpected shapes ({reason}); give the state dict of a whole model") from error


def without_counterpart(spec: FlavaSpec, tensors: Mapping[str, Tensor]) -> Iterator[Problem]:
    """What a model with these weights computes otherwise than who reads torchmultimodal's files: they hold no config.

    Raises InputError if they are not the weights of a whole model that it has.
    """
    read = spec_of_tensors(tensors, heads=1)
    parts_read = dict(parts_of(read))
    for loc, part in parts_of(spec):
        if loc[0] in _MASKERS:
            continue
        theirs = parts_read.get(loc)
        if type(theirs) is not type(part):
            yield Problem(loc, f"torchmultimodal has no {part.type_name()} here")
            continue
        for field in sorted(type(part).model_fields.keys() - _UNSEEN):
            mine, its = getattr(part, field), getattr(theirs, field)
            if (pair(mine) != pair(its)) if field in ("image_size", "patch_size") else mine != its:
                yield Problem((*loc, field), f"is {mine}, where torchmultimodal's files can only say {its}")


_MASKERS = ("image_masker", "text_masker", "pair_masker")
_UNSEEN = frozenset(
    {"heads", "dropout", "attention_dropout", "pad_token_id", "mlp_width"}  # its constructors are given these
    | {"init_std", "weight", "weights", "freeze", "chunk_size", "all_negative", "backprop"}  # of training
    | {"logit_scale", "min_logit_scale", "max_logit_scale"}
)
"""Fields in which a model may differ from what is read off its weights."""


class _Shapes(dict[str, tuple[int, ...]]):
    def __missing__(self, name: str) -> tuple[int, ...]:
        raise InputError(f"no weight {name}; give the state dict of a whole model")


def _spec(shapes: Mapping[str, tuple[int, ...]], heads: int | None) -> FlavaSpec:
    patches = shapes["image_encoder.position_embedding"][1] - 1
    side = math.isqrt(patches)
    if side * side != patches:
        raise InputError(f"{patches} patches are no square; torchmultimodal's images are")
    _, channels, *patch = shapes["image_encoder.patch_embedding.projection.weight"]
    vocab, _ = shapes["text_encoder.word_embedding.weight"]
    head: dict[str, Any] = {"norm_eps": HEAD_NORM_EPS}
    losses: dict[str, LossSpec] = {
        "mim": MIMSpec(**head),
        "mlm": MLMSpec(**head),
        "mmm_image": MMMImageSpec(**head),
        "mmm_text": MMMTextSpec(**head),
        "itm": ITMSpec(all_negative="as_positive"),
        "global_contrastive": GlobalContrastiveSpec(
            projection=shapes.get("losses.global_contrastive.image_projection.weight", (1,))[0],
            logit_scale=LOGIT_SCALE,
        ),
    }
    losses = {name: loss for name, loss in losses.items() if any(key.startswith(f"losses.{name}.") for key in shapes)}
    return FlavaSpec(
        image_encoder=ViTSpec(
            **_tower(shapes, "image_encoder", heads),
            image_size=side * patch[0],
            patch_size=patch[0],
            channels=channels,
            mask_token="image_encoder.mask_token" in shapes,
        ),
        text_encoder=TextTransformerSpec(
            **_tower(shapes, "text_encoder", heads),
            vocab_size=vocab,
            length=shapes["text_encoder.position_embedding.weight"][0],
            token_types=shapes["text_encoder.token_type_embedding.weight"][0],
        ),
        fusion=FusionTransformerSpec(
            **_tower(shapes, "fusion", heads), cls_token="fusion.cls_token" in shapes, mask_text_padding=False
        ),
        codebook=_codebook(shapes, side, losses),
        image_masker=None,
        text_masker=None,
        pair_masker=None,
        losses=losses,
    )


def _codebook(shapes: Mapping[str, tuple[int, ...]], side: int, losses: Collection[str]) -> DVAESpec | None:
    """The codebook; without weights of it, one of as many codes as the heads predict, which cannot give any."""
    if "codebook.output.weight" in shapes:
        vocab, width, *_ = shapes["codebook.output.weight"]
        return DVAESpec(image_size=8 * side, vocab_size=vocab, width=width // 8)
    predicted = [shapes[f"losses.{name}.head.decoder.weight"][0] for name in ("mim", "mmm_image") if name in losses]
    return DVAESpec(image_size=8 * side, vocab_size=predicted[0]) if predicted else None


def _tower(shapes: Mapping[str, tuple[int, ...]], slot: str, heads: int | None) -> dict[str, Any]:
    width, mlp_width = shapes[f"{slot}.norm.weight"][0], shapes[f"{slot}.blocks.0.mlp.up.weight"][0]
    count = heads or width // _HEAD_WIDTH
    if count == 0 or width % count:
        raise InputError(
            f"{count} heads do not divide the {slot}'s width of {width}; say how many there are, with heads"
        )
    depth = 1 + max(int(found[1]) for name in shapes if (found := re.match(rf"{slot}\.blocks\.(\d+)\.", name)))
    return {
        "width": width,
        "depth": depth,
        "heads": count,
        "mlp_width": mlp_width,
        "pooler": f"{slot}.pooler.dense.weight" in shapes,
    }
