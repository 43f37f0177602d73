"""One view of a picture: resized, cropped, and on the scale that a model reads."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import InputError
from .pictures import eight_bits
from .settings import MAX_PIXELS, ViewSettings

LOGIT_LAPLACE_EPS = 0.1
"""The dVAE's pixels lie between this and 1 - this (Ramesh et al. 2021, appendix A.3)."""


class Crop(NamedTuple):
    """A part of a picture, its edges as shares of the picture's sides, and whether it is mirrored."""

    left: float
    top: float
    right: float
    bottom: float
    flip: bool


WHOLE = Crop(0.0, 0.0, 1.0, 1.0, flip=False)


class View:
    """Pictures to one of their views. Value by value what transformers' FlavaImageProcessorPil gives."""

    def __init__(self, settings: ViewSettings) -> None:
        self.settings = settings

    def __call__(self, picture: Image.Image | NDArray[Any], crop: Crop = WHOLE) -> NDArray[np.float32]:
        """The view (C, H, W) of a crop of a picture: 8 bits a channel, or floats (H, W, C) on a scale of their own.

        Raises `InputError` if a side would have no pixel, or mean and deviation are those of other channels.
        """
        pixels = self._placed(picture, crop)
        channels = pixels.shape[2]
        if pixels.dtype != np.uint8:
            return np.ascontiguousarray(self._toned(pixels).transpose(2, 0, 1), dtype=np.float32)
        # 256 values a channel: what becomes of each is worked out once, and looked up for every pixel.
        levels = np.arange(256, dtype=np.uint8)[:, None].repeat(channels, axis=1)
        table = self._toned(levels).astype(np.float32)
        view = np.empty((channels, *pixels.shape[:2]), dtype=np.float32)
        for channel in range(channels):
            np.take(table[:, channel], pixels[..., channel], out=view[channel], mode="clip")
        return view

    def _placed(self, picture: Image.Image | NDArray[Any], crop: Crop) -> NDArray[Any]:
        """The pixels (H, W, C) that the view shows, values as they were."""
        pixels = self._resized(picture, crop) if self.settings.do_resize else np.asarray(picture)
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if self.settings.crop is not None:
            pixels = _middle(pixels, self.settings.crop)
        return pixels[:, ::-1] if crop.flip else pixels

    def _resized(self, picture: Image.Image | NDArray[Any], crop: Crop) -> NDArray[Any]:
        image, unit = (picture, False) if isinstance(picture, Image.Image) else eight_bits(picture)
        box = (crop.left * image.width, crop.top * image.height, crop.right * image.width, crop.bottom * image.height)
        height, width = self.settings.size.fitted(box[3] - box[1], box[2] - box[0])
        if not 0 < height * width <= MAX_PIXELS:
            raise InputError(f"a picture of {image.height}x{image.width} cannot be resized to {height}x{width}")
        pixels = np.asarray(image.resize((width, height), Image.Resampling(self.settings.resample), box))
        return _times(pixels, 1 / 255) if unit else pixels

    def _toned(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values (..., C) on the scale of the view. In the arithmetic of the reference, so that bits agree."""
        settings = self.settings
        if settings.do_rescale:
            values = _times(values, settings.rescale_factor)
        if settings.do_normalize:
            if not np.issubdtype(values.dtype, np.floating):
                values = values.astype(np.float32)
            mean, std = (
                np.array(self._channels(name, values.shape[-1]), dtype=values.dtype)
                for name in ("image_mean", "image_std")
            )
            values = (values - mean) / std
        if settings.do_map_pixels:
            values = (1 - 2 * LOGIT_LAPLACE_EPS) * values + LOGIT_LAPLACE_EPS
        return values

    def _channels(self, name: str, channels: int) -> Sequence[float]:
        values: float | tuple[float, ...] = getattr(self.settings, name)
        if isinstance(values, tuple) and len(values) != channels:
            raise InputError(
                f"{name} has {len(values)} values, but a picture has {channels} channels; give as many, or one number"
            )
        return values if isinstance(values, tuple) else (values,) * channels


def _times(values: NDArray[Any], factor: float) -> NDArray[np.float32]:
    return (values.astype(np.float64) * factor).astype(np.float32)


def _middle(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """The middle of pixels (H, W, C), with zeros around it where they are smaller."""
    (source_rows, rows), (source_columns, columns) = (_span(*sides) for sides in zip(pixels.shape, size, strict=False))
    if pixels.shape[0] >= size[0] and pixels.shape[1] >= size[1]:
        return pixels[source_rows, source_columns]
    canvas = np.zeros((*size, pixels.shape[2]), dtype=pixels.dtype)
    canvas[rows, columns] = pixels[source_rows, source_columns]
    return canvas


def _span(have: int, want: int) -> tuple[slice, slice]:
    """Along one side: what is taken of the picture, and where it goes."""
    if have >= want:
        first = (have - want) // 2
        return slice(first, first + want), slice(0, want)
    first = ceil((want - have) / 2)
    return slice(0, have), slice(first, first + have)
