"""One view of a picture: resized, cropped, and on the scale that a model reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import InputError
from .pictures import Channels, Picture
from .settings import MAX_PIXELS, ViewSettings

LOGIT_LAPLACE_EPS = 0.1
"""The dVAE's pixels lie between this and 1 - this (Ramesh et al. 2021, appendix A.3)."""

Opened = Image.Image | NDArray[Any]
"""A picture of 8 bits a channel, or pixels (H, W, C)."""


class Crop(NamedTuple):
    """A part of a picture, its edges as shares of the picture's sides, and whether it is mirrored."""

    left: float
    top: float
    right: float
    bottom: float
    flip: bool


WHOLE = Crop(0.0, 0.0, 1.0, 1.0, flip=False)


class View(ABC):
    """Pictures to one of their views. The back ends, its subclasses, differ in their arithmetic and their rounding."""

    def __init__(self, settings: ViewSettings) -> None:
        self.settings = settings
        self._tables: dict[int, NDArray[np.float32]] = {}

    @abstractmethod
    def opened(self, picture: Picture, *, background: int, channels: Channels | None, convert: bool) -> Opened:
        """The picture as it is called with; where nothing is rescaled, floats stay on the scale that they came in.

        With ``convert`` it is RGB, transparent parts over the background. Raises `InputError` as `rgb` does.
        """

    def __call__(self, picture: Opened, crop: Crop = WHOLE) -> NDArray[np.float32]:
        """The view (C, H, W) of a crop of an opened picture.

        Raises `InputError` if a side would have no pixel, or mean and deviation are those of other channels.
        """
        pixels = self._placed(picture, crop)
        channels = pixels.shape[2]
        if pixels.dtype != np.uint8:
            return np.ascontiguousarray(self._toned(pixels).transpose(2, 0, 1), dtype=np.float32)
        table = self.table(channels)
        view = np.empty((channels, *pixels.shape[:2]), dtype=np.float32)
        for channel in range(channels):
            np.take(table[channel], pixels[..., channel], out=view[channel], mode="clip")
        return view

    def levels(self, picture: Opened, crop: Crop = WHOLE) -> NDArray[np.uint8]:
        """The view (C, H, W) of a picture of 8 bits a channel, as it is before `table`: a quarter of the bytes."""
        pixels = self._placed(picture, crop)
        assert pixels.dtype == np.uint8
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def table(self, channels: int) -> NDArray[np.float32]:
        """What each of the 256 levels of each channel (C, 256) becomes on the scale of the view.

        Worked out once, and looked up for every pixel. Raises `InputError` as calling does.
        """
        table = self._tables.get(channels)
        if table is None:
            levels = np.arange(256, dtype=np.uint8)[:, None].repeat(channels, axis=1)
            table = self._tables[channels] = self._toned(levels).astype(np.float32).T.copy()
        return table

    @abstractmethod
    def _resized(self, picture: Opened, crop: Crop) -> NDArray[Any]:
        """The pixels (H, W) or (H, W, C) of a crop in the size that the settings have."""

    @abstractmethod
    def _toned(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values (..., C) on the scale of the view. In the arithmetic of the reference, so that bits agree."""

    @abstractmethod
    def _margin(self, missing: int) -> int:
        """How many of the missing rows or columns go before a picture that is smaller than its crop."""

    def _placed(self, picture: Opened, crop: Crop) -> NDArray[Any]:
        """The pixels (H, W, C) that the view shows, values as they were."""
        pixels = self._resized(picture, crop) if self.settings.do_resize else np.asarray(picture)
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if self.settings.crop is not None:
            pixels = self._middle(pixels, self.settings.crop)
        return pixels[:, ::-1] if crop.flip else pixels

    def _fitted(self, height: float, width: float) -> tuple[int, int]:
        """(height, width) that a picture, or a crop of it, is resized to."""
        rows, columns = self.settings.size.fitted(height, width)
        if not 0 < rows * columns <= MAX_PIXELS:
            raise InputError(f"a picture of {height:.0f}x{width:.0f} cannot be resized to {rows}x{columns}")
        return rows, columns

    def _channels(self, name: str, channels: int) -> Sequence[float]:
        values: float | tuple[float, ...] = getattr(self.settings, name)
        if isinstance(values, tuple) and len(values) != channels:
            raise InputError(
                f"{name} has {len(values)} values, but a picture has {channels} channels; give as many, or one number"
            )
        return values if isinstance(values, tuple) else (values,) * channels

    def _middle(self, pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
        """The middle of pixels (H, W, C), with zeros around it where they are smaller."""
        (source_rows, rows), (source_columns, columns) = (
            self._span(*sides) for sides in zip(pixels.shape, size, strict=False)
        )
        if pixels.shape[0] >= size[0] and pixels.shape[1] >= size[1]:
            return pixels[source_rows, source_columns]
        canvas = np.zeros((*size, pixels.shape[2]), dtype=pixels.dtype)
        canvas[rows, columns] = pixels[source_rows, source_columns]
        return canvas

    def _span(self, have: int, want: int) -> tuple[slice, slice]:
        """Along one side: what is taken of the picture, and where it goes."""
        if have >= want:
            first = (have - want) // 2
            return slice(first, first + want), slice(0, want)
        first = self._margin(want - have)
        return slice(0, have), slice(first, first + have)
