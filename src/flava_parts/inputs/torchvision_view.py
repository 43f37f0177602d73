"""Views made by torchvision."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from .pictures import Channels, Picture, as_it_is, channels_last, eight_bits, own_floats, rgb
from .settings import RESAMPLING
from .view import LOGIT_LAPLACE_EPS, Crop, Opened, View

MODES = {0: "nearest-exact", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""What torchvision calls the filters that it has for tensors, by Pillow's numbers."""


class TorchvisionView(View):
    """Bit for bit what transformers' torchvision back end gives on a CPU: FlavaImageProcessor, formerly …Fast.

    Pixels are resampled in their own type: whole numbers stay whole, floats are not rounded. A training crop begins
    and ends at whole pixels.
    """

    def opened(self, picture: Picture, *, background: int, channels: Channels | None, convert: bool) -> Opened:
        if not isinstance(picture, (np.ndarray, Tensor)):
            return rgb(picture, background, channels) if convert else as_it_is(picture, channels)
        if not self.settings.do_rescale:
            floats = own_floats(picture, background, channels, convert=convert)
            if floats is not None:
                return floats
        pixels = channels_last(picture, channels)
        unit = False
        levels: NDArray[np.uint8] = pixels
        if pixels.dtype != np.uint8:
            image, unit = eight_bits(pixels)  # which also says what is no picture
            levels = np.asarray(image).reshape(pixels.shape)
        if convert and pixels.shape[2] == 4:
            return _over(levels, background)
        if unit:
            pixels = levels
        elif pixels.dtype != np.uint8 and not np.issubdtype(pixels.dtype, np.floating):
            pixels = pixels.astype(np.int64)
        return pixels.repeat(3, axis=2) if convert and pixels.shape[2] == 1 else pixels

    def _resized(self, picture: Opened, crop: Crop) -> NDArray[Any]:
        from torchvision.transforms.v2 import InterpolationMode  # pyright: ignore[reportMissingTypeStubs]
        from torchvision.transforms.v2.functional import resize  # pyright: ignore[reportMissingTypeStubs]

        pixels = np.asarray(picture)
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        rows, columns = _whole(crop.top, crop.bottom, pixels.shape[0]), _whole(crop.left, crop.right, pixels.shape[1])
        part = pixels[rows, columns]
        size = self._fitted(*part.shape[:2])
        if tuple(size) == part.shape[:2]:  # no filter is asked for, not even one that torchvision does not have
            return part
        mode = InterpolationMode(self._mode())
        if part.dtype == np.uint8:
            # Channels stay last in memory, as they come: three times as fast, and the same bits. Not so for floats.
            tensor = torch.from_numpy(np.require(part, requirements=["C", "W"])).permute(2, 0, 1)
        else:
            tensor = torch.from_numpy(np.array(part.transpose(2, 0, 1), order="C"))
        return resize(tensor, list(size), mode, antialias=True).numpy().transpose(1, 2, 0)

    def _mode(self) -> str:
        """The name of the filter. Raises `InputError` if torchvision has no such one."""
        number = self.settings.resample
        if number not in MODES:
            name = next(name for name, known in RESAMPLING.items() if known == number)
            raise InputError(f"resample: torchvision has no {name} filter; choose backend='pil', or another filter")
        if MODES[number] == "lanczos" and not has_lanczos():
            raise InputError("resample: Lanczos takes torchvision 0.27; update it, or choose backend='pil'")
        return MODES[number]

    def _toned(self, values: NDArray[Any]) -> NDArray[Any]:
        settings = self.settings
        if settings.do_rescale and settings.do_normalize and settings.rescale_factor == 0:
            raise InputError("rescale_factor: 0 leaves nothing to normalise; give do_normalize=False, or backend='pil'")
        if settings.do_normalize:
            # Both steps in one: what mean and deviation are is rescaled instead of the pixels.
            scale = np.float32(1 / settings.rescale_factor if settings.do_rescale else 1)
            mean, std = (
                np.array(self._channels(name, values.shape[-1]), dtype=np.float32) * scale
                for name in ("image_mean", "image_std")
            )
            values = (values.astype(np.float32) - mean) / std
        elif settings.do_rescale:
            values = _floats(values) * settings.rescale_factor
        if settings.do_map_pixels:
            values = (1 - 2 * LOGIT_LAPLACE_EPS) * _floats(values) + LOGIT_LAPLACE_EPS
        return values

    def _margin(self, missing: int) -> int:
        return missing // 2


@cache
def has_lanczos() -> bool:
    """Whether torchvision has Lanczos' filter for tensors; transformers takes Pillow for FLAVA where it has not."""
    return tuple(int(number) for number in version("torchvision").split(".")[:2]) >= (0, 27)


def _whole(first: float, last: float, side: int) -> slice:
    """The pixels of a side between two shares of it, at least one."""
    start = min(round(first * side), side - 1)
    return slice(start, max(round(last * side), start + 1))


def _floats(values: NDArray[Any]) -> NDArray[Any]:
    return values if np.issubdtype(values.dtype, np.floating) else values.astype(np.float32)


def _over(pixels: NDArray[np.uint8], background: int) -> NDArray[np.uint8]:
    """RGB pixels (H, W, 3) of pixels with opacity (H, W, 4), blended as floats from 0 to 1 as torchvision has them."""
    from torchvision.transforms.v2.functional import to_dtype  # pyright: ignore[reportMissingTypeStubs]

    layer = to_dtype(torch.from_numpy(pixels.copy()), torch.float32, scale=True)
    opacity = layer[..., 3:]
    blended = layer[..., :3] * opacity + (1 - opacity) * (background / 255)
    return to_dtype(blended, torch.uint8, scale=True).numpy()
