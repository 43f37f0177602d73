"""Pictures of any kind, opened with care and turned into plain RGB."""

from __future__ import annotations

import io
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP")
"""What is read from files and bytes; Pillow's rarer decoders stay out of reach."""

MAX_PIXELS = 64_000_000
"""Larger pictures are refused by what their header says, before anything is decoded."""

Picture = Image.Image | NDArray[Any] | Tensor | str | Path | bytes
"""A Pillow image, pixels, a file's path, or a file's content."""


def open_picture(source: str | Path | bytes) -> Image.Image:
    """The decoded picture of a JPEG, PNG or WebP file, given by path or content; its first frame if it moves.

    Raises `InputError` if it cannot be read, is of another format, is damaged or cut off, or has over 64 megapixels.
    """
    with (
        _decoding("picture" if isinstance(source, bytes) else str(source)),
        io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file,
    ):
        picture = Image.open(file, formats=FORMATS)
        _load(picture)
    return picture


def rgb(picture: Picture, background: int) -> Image.Image:
    """The picture upright and in RGB, transparent parts over a background of that grey level (0 to 255).

    Arrays are taken as (H, W), (H, W, C) or (C, H, W), tensors as (H, W), (C, H, W) or (H, W, C), in this order of
    preference; C is 1, 3 or 4, the values uint8 or floats from 0 to 1. Raises `InputError` for anything else.
    """
    if isinstance(picture, (str, Path, bytes)):
        picture = open_picture(picture)
    if isinstance(picture, (np.ndarray, Tensor)):
        return _over(_from_pixels(picture), background)
    if not isinstance(picture, Image.Image):  # pyright: ignore[reportUnnecessaryIsInstance]
        kind = type(picture).__name__
        raise InputError(f"{kind} is no picture; give a path, bytes, a Pillow image, an array or a tensor")
    with _decoding("picture"):  # Pillow's images are decoded when they are first used
        _load(picture)
    with suppress(Exception):  # a damaged EXIF block says nothing about which side is up; the pixels are good
        picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("F", "La"):
        raise InputError(f"a picture of mode {picture.mode}; give RGB, or an array of floats from 0 to 1")
    if picture.mode.startswith("I"):  # 16 bits a pixel, which Pillow would clip to 8 instead of scaling
        grey = (np.asarray(picture).astype(np.int64).clip(0, 65535) + 128) // 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    return _over(picture, background)


@contextmanager
def _decoding(name: str) -> Generator[None, None, None]:
    """Everything that goes wrong while a picture is opened and decoded, as an `InputError` that names it."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{name}: more than {MAX_PIXELS // 1_000_000} megapixels; make it smaller") from error
    except Image.UnidentifiedImageError as error:
        raise InputError(f"{name}: not the beginning of a JPEG, PNG or WebP picture") from error
    except Exception as error:  # on damaged files the decoders raise whatever their code runs into
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{name}: no picture could be read ({reason})") from error


def _load(picture: Image.Image) -> None:
    if picture.width * picture.height > MAX_PIXELS:
        raise Image.DecompressionBombError
    picture.load()


def _over(picture: Image.Image, background: int) -> Image.Image:
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    canvas = Image.new("RGB", layer.size, (background,) * 3)
    canvas.paste(layer, mask=layer)
    return canvas


def _from_pixels(pixels: NDArray[Any] | Tensor) -> Image.Image:
    channels_first = isinstance(pixels, Tensor)
    if isinstance(pixels, Tensor):
        pixels = pixels.detach().cpu()
        array: NDArray[Any] = (pixels.float() if pixels.is_floating_point() else pixels).numpy()
    else:
        array = pixels
    shape = array.shape
    if array.ndim == 2:
        array = array[..., None]
    elif array.ndim == 3:
        first, last = shape[0] in (1, 3, 4), shape[-1] in (1, 3, 4)
        if first and (channels_first or not last):
            array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or 0 in array.shape:
        raise InputError(f"pixels of shape {shape} are no picture; give (H, W, C) or (C, H, W) with 1, 3 or 4 channels")
    if np.issubdtype(array.dtype, np.floating):
        if not (array.min() >= 0 and array.max() <= 1):
            raise InputError(f"float pixels from {array.min()} to {array.max()}; give them from 0 to 1, or as uint8")
        array = (array * 255).round().astype(np.uint8)
    elif array.dtype != np.uint8:
        raise InputError(f"pixels of {array.dtype}; give uint8, or floats from 0 to 1")
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.shape[-1] == 1 else array))
