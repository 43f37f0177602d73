"""What a timm model gives, read from the model itself: built and run on the meta device, where nothing has memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from typing import Any

import timm  # pyright: ignore[reportMissingImports]  # the environment of the types need not have it
import torch

from flava_parts.errors import InputError
from flava_parts.facts import Grid, ImageTokens, Size, pair
from flava_parts.registry import nearest


@dataclass(frozen=True, slots=True)
class Features:
    """The sequence that the part returns, and the parameters that the features do not depend on.

    ``own`` are the model's own tokens before the patches. Without any, the mean of the patches is put first.
    """

    tokens: ImageTokens
    own: int
    idle: frozenset[str]


def create(model: str, image_size: Size, channels: int) -> Any:
    """The model with random weights and without its classifier, on torch's current default device.

    Raises InputError if timm does not have it, or not for this size.
    """
    known = timm.list_models()
    if model not in known:
        near = nearest(model, tuple(known))
        raise InputError(
            f"timm {timm.__version__} has no model '{model}'" + (f"; did you mean '{near}'?" if near else "")
        )
    built: dict[str, Any] = {"pretrained": False, "num_classes": 0, "in_chans": channels}
    try:
        try:
            return timm.create_model(model, img_size=pair(image_size), **built)
        except TypeError as error:
            if "img_size" not in str(error):
                raise
            return timm.create_model(model, **built)  # it reads any size
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"timm cannot build '{model}' for {image_size} pixels: {error}") from error


@lru_cache(maxsize=64)
def features(model: str, image_size: Size, channels: int) -> Features:
    """Build the model without memory, and see what it gives for one picture. Raises InputError if that is no grid."""
    height, width = pair(image_size)
    with torch.device("meta"):
        built = create(model, image_size, channels).eval()
        try:
            given = built.forward_features(torch.empty(1, channels, height, width))
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"timm's '{model}' does not read {image_size} pixels: {error}") from error
    if not isinstance(given, torch.Tensor):
        raise InputError(f"timm's '{model}' gives no single grid of features; choose another backbone")
    given.sum().backward()
    idle = frozenset(name for name, each in built.named_parameters() if each.grad is None)
    own = int(getattr(built, "num_prefix_tokens", 0) or 0) if given.dim() == 3 else 0
    if given.dim() == 4:
        shape = given.shape[1:3] if channels_last(built) else given.shape[2:4]
        grid, channels_out = Grid(*shape), given.shape[3 if channels_last(built) else 1]
    elif given.dim() == 3:
        count, channels_out = given.shape[1] - own, given.shape[2]
        rows = isqrt(count * height // width)
        if not rows or rows * (count // rows) != count:
            raise InputError(f"timm's '{model}' gives {count} tokens, which form no grid")
        grid = Grid(rows, count // rows)
    else:
        raise InputError(f"timm's '{model}' gives no grid of features; choose another backbone")
    return Features(ImageTokens(grid=grid, prefix=max(own, 1), width=channels_out), own=own, idle=idle)


def channels_last(model: Any) -> bool:
    """Whether a grid of features is (B, rows, columns, D) and not (B, D, rows, columns)."""
    return str(getattr(model, "output_fmt", "NCHW")) == "NHWC"
