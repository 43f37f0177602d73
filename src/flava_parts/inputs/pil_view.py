"""Views made by Pillow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .pictures import Channels, Picture, as_it_is, eight_bits, own_floats, rgb
from .view import LOGIT_LAPLACE_EPS, Crop, Opened, View


class PilView(View):
    """Bit for bit what transformers' FlavaImageProcessorPil gives."""

    def opened(self, picture: Picture, *, background: int, channels: Channels | None, convert: bool) -> Opened:
        if not self.settings.do_rescale:
            floats = own_floats(picture, background, channels, convert=convert)
            if floats is not None:
                return floats
        return rgb(picture, background, channels) if convert else as_it_is(picture, channels)

    def _resized(self, picture: Opened, crop: Crop) -> NDArray[Any]:
        image, unit = (picture, False) if isinstance(picture, Image.Image) else eight_bits(picture)
        box = (crop.left * image.width, crop.top * image.height, crop.right * image.width, crop.bottom * image.height)
        height, width = self._fitted(box[3] - box[1], box[2] - box[0])
        pixels = np.asarray(image.resize((width, height), Image.Resampling(self.settings.resample), box))
        return _times(pixels, 1 / 255) if unit else pixels

    def _toned(self, values: NDArray[Any]) -> NDArray[Any]:
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

    def _margin(self, missing: int) -> int:
        return (missing + 1) // 2


def _times(values: NDArray[Any], factor: float) -> NDArray[np.float32]:
    return (values.astype(np.float64) * factor).astype(np.float32)
