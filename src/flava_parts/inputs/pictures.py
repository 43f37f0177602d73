"""Pictures of any kind, opened with care and turned into plain RGB."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from ..errors import InputError
from .settings import MAX_PIXELS

FORMATS = ("JPEG", "PNG", "WEBP")
"""What is read from files and bytes; Pillow's rarer decoders stay out of reach."""

MAX_BYTES = 4 * MAX_PIXELS
"""Larger files are not read: more than the pixels themselves take."""

Picture = Image.Image | NDArray[Any] | Tensor | str | Path | bytes
"""A Pillow image, pixels, a file's path, or a file's content."""

Channels = Literal["channels_first", "channels_last", "none"]
"""Where pixels have their channels: (C, H, W), (H, W, C), or nowhere, (H, W)."""


class PictureError(InputError):
    """A file that holds no picture that can be used.

    reason: ``missing-file``, ``not-a-file``, ``empty-file``, ``too-large``, ``not-a-picture`` (of none of `FORMATS`),
    ``truncated`` or ``damaged``.
    """

    def __init__(self, message: str, reason: str = "damaged") -> None:
        super().__init__(message)
        self.reason = reason


def open_picture(source: str | Path | bytes, *, at_least: int | None = None) -> Image.Image:
    """The decoded picture of a JPEG, PNG or WebP file, given by path or content; its first frame if it moves.

    at_least: a JPEG may be decoded at a half, a quarter or an eighth of its size as long as both sides keep so many
    pixels, which is faster and blurs a little differently; at its own size if not given.

    Raises `PictureError` if it cannot be read, is of another format, is damaged or cut off, or has over 64 megapixels,
    which its header says before anything is decoded.
    """
    name = "picture" if isinstance(source, bytes) else str(source)
    content = source if isinstance(source, bytes) else read_picture(source)
    with _decoding(name, content):
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
        _check_size(picture)
        if at_least is not None:
            picture.draft("RGB", (at_least, at_least))
        picture.load()
    return picture


def read_picture(path: str | Path) -> bytes:
    """The content of a picture's file, which nobody has looked into yet.

    Raises `PictureError` if there is no such file, if it is a pipe or a device, which might never end, or if it has
    over `MAX_BYTES`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = "missing-file" if isinstance(error, (FileNotFoundError, ValueError)) else "not-a-file"
        raise PictureError(f"{path}: no picture could be read ({_said_by(error)})", reason) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            kind = "Is a directory" if stat.S_ISDIR(found.st_mode) else "not a file"
            raise PictureError(f"{path}: no picture could be read ({kind})", "not-a-file")
        if found.st_size > MAX_BYTES:
            raise PictureError(f"{path}: more than {MAX_BYTES // 1_000_000} MB; make it smaller", "too-large")
        with open(descriptor, "rb", buffering=0, closefd=False) as file:
            return file.readall()
    finally:
        os.close(descriptor)


def size_of(content: bytes) -> tuple[int, int]:
    """The width and height of a picture, upright, by its file's content, which is not decoded. Raises PictureError."""
    with _decoding("picture", content):
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
        _check_size(picture)
        # A PNG may have its EXIF block behind the pixels, and asking for that would decode them.
        turned = "exif" in picture.info and picture.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        return (picture.height, picture.width) if turned else picture.size


def rgb_or_rgba(picture: Image.Image) -> NDArray[np.uint8]:
    """The picture upright, (H, W, 4) if it has transparency, else (H, W, 3), uint8. Raises `InputError` as `rgb`."""
    upright = _upright(picture)
    return np.asarray(upright.convert("RGBA") if upright.has_transparency_data else rgb(upright, 255))


def rgb(picture: Picture, background: int, channels: Channels | None = None) -> Image.Image:
    """The picture upright and in RGB, transparent parts over a background of that grey level (0 to 255).

    Arrays are taken as (H, W), (H, W, C) or (C, H, W), tensors as (H, W), (C, H, W) or (H, W, C), in this order of
    preference unless ``channels`` says where they are; C is 1, 3 or 4. Values are whole numbers from 0 to 255, or
    floats from 0 to 1. Raises `InputError` for anything else.
    """
    if isinstance(picture, (str, Path, bytes)):
        picture = open_picture(picture)
    if isinstance(picture, (np.ndarray, Tensor)):
        return _over(eight_bits(channels_last(picture, channels))[0], background)
    if not isinstance(picture, Image.Image):  # pyright: ignore[reportUnnecessaryIsInstance]
        kind = type(picture).__name__
        raise InputError(f"{kind} is no picture; give a path, bytes, a Pillow image, an array or a tensor")
    picture = _upright(picture)
    if picture.mode in ("F", "La"):
        raise InputError(f"a picture of mode {picture.mode}; give RGB, or an array of floats from 0 to 1")
    if picture.mode.startswith("I"):  # 16 bits a pixel, which Pillow would clip to 8 instead of scaling
        grey = (np.asarray(picture).astype(np.int64).clip(0, 65535) + 128) // 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    return _over(picture, background)


def as_it_is(picture: Picture, channels: Channels | None = None) -> Image.Image:
    """The picture with its own channels, 1, 3 or 4 of them, 8 bits each. Raises `InputError` as `rgb` does."""
    if isinstance(picture, (str, Path, bytes)):
        picture = open_picture(picture)
    if isinstance(picture, Image.Image):
        picture, channels = np.asarray(_upright(picture)), None
    return eight_bits(channels_last(picture, channels))[0]


def own_floats(
    picture: Picture, background: int, channels: Channels | None = None, *, convert: bool = True
) -> NDArray[Any] | None:
    """Float pixels (H, W, C) on the scale that they came in; None if the picture is no array or tensor of floats.

    With ``convert`` they are RGB, transparent parts over the background. Raises `InputError` as `rgb` does.
    """
    if not isinstance(picture, (np.ndarray, Tensor)):
        return None
    pixels = channels_last(picture, channels)
    if not np.issubdtype(pixels.dtype, np.floating):
        return None
    if convert and pixels.shape[2] == 1:
        pixels = pixels.repeat(3, axis=2)
    if convert and pixels.shape[2] == 4:
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            raise InputError(f"transparent pixels from {pixels.min()} to {pixels.max()}; give them from 0 to 1")
        opacity = pixels[..., 3:]
        pixels = (opacity * pixels[..., :3] + (1 - opacity) * (background / 255)).astype(pixels.dtype)
    return pixels


def flat(pictures: Picture | Sequence[Any]) -> list[Picture]:
    """One picture, several, lists of several, or arrays and tensors with a batch axis, as a list of pictures."""
    if isinstance(pictures, (np.ndarray, Tensor)):
        return list(pictures) if pictures.ndim == 4 else [pictures]
    if isinstance(pictures, (list, tuple)):
        return [picture for entry in pictures for picture in flat(entry)]  # pyright: ignore[reportUnknownVariableType]
    return [pictures]  # pyright: ignore[reportReturnType]: what is no picture is told apart where it is opened


def eight_bits(pixels: NDArray[Any]) -> tuple[Image.Image, bool]:
    """Pixels (H, W, C) as an image of 8 bits a channel, and whether they were floats from 0 to 1.

    Raises `InputError` unless values are whole numbers from 0 to 255 or floats from 0 to 1.
    """
    unit = False
    if pixels.dtype != np.uint8:
        least, most = pixels.min(), pixels.max()
        floats = np.issubdtype(pixels.dtype, np.floating)
        unit = bool(floats and least >= 0 and most <= 1)
        if unit:
            # Cut, not rounded, as in the reference; the fractions k / 255 of 8-bit pictures come back as k.
            pixels = (pixels.astype(np.float64) * 255).astype(np.float32)
        elif pixels.dtype == np.bool_ or not (least >= 0 and most <= 255) or (floats and (pixels % 1).any()):
            kind = "float pixels" if floats else f"pixels of {pixels.dtype}"
            raise InputError(f"{kind} from {least} to {most}; give floats from 0 to 1, or uint8")
        pixels = pixels.astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)), unit


def channels_last(pixels: NDArray[Any] | Tensor, channels: Channels | None = None) -> NDArray[Any]:
    """Pixels as an array (H, W, C). Raises `InputError` if their shape, or ``channels``, does not say which is C."""
    if isinstance(pixels, Tensor):
        shared = pixels.detach().cpu()
        half = shared.is_floating_point() and shared.element_size() < 4  # NumPy knows no bfloat16
        array: NDArray[Any] = (shared.float() if half else shared).numpy()
    else:
        array = pixels
    shape = array.shape
    if array.ndim == 2 and channels in (None, "none"):
        array = array[..., None]
    elif array.ndim == 3:
        first, last = shape[0] in (1, 3, 4), shape[-1] in (1, 3, 4)
        if channels == "channels_first" or (channels is None and first and (isinstance(pixels, Tensor) or not last)):
            array = array.transpose(1, 2, 0)
    wrong = channels == "none" and len(shape) != 2
    if wrong or array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or 0 in shape:
        place = "" if channels is None else f" with input_data_format {channels!r}"
        raise InputError(
            f"pixels of shape {shape}{place} are no picture; give (H, W, C) or (C, H, W) with 1, 3 or 4 channels"
        )
    return array


@contextmanager
def _decoding(name: str, content: bytes | None = None) -> Generator[None, None, None]:
    """Everything that goes wrong while a picture is opened and decoded, as a `PictureError` that names it."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        message = f"{name}: more than {MAX_PIXELS // 1_000_000} megapixels; make it smaller"
        raise PictureError(message, "too-large") from error
    except Image.UnidentifiedImageError as error:
        reason = "empty-file" if content == b"" else "truncated" if _is_short_webp(content) else "not-a-picture"
        raise PictureError(f"{name}: not the beginning of a JPEG, PNG or WebP picture", reason) from error
    except Exception as error:  # on damaged files the decoders raise whatever their code runs into
        message = f"{name}: no picture could be read ({_said_by(error)})"
        cut_off = "truncated" in str(error).lower() or _is_short_webp(content)
        raise PictureError(message, "truncated" if cut_off else "damaged") from error


def _said_by(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__


def _is_short_webp(content: bytes | None) -> bool:
    """Whether the length in a WebP header says that bytes are missing; the decoder itself does not say so."""
    if content is None or content[:4] != b"RIFF":
        return False
    return int.from_bytes(content[4:8], "little") + 8 > len(content)


def _check_size(picture: Image.Image) -> None:
    if picture.width * picture.height > MAX_PIXELS:
        raise Image.DecompressionBombError


def _upright(picture: Image.Image) -> Image.Image:
    with _decoding("picture"):  # Pillow's images are decoded when they are first used
        _check_size(picture)
        picture.load()
    with suppress(Exception):  # a damaged EXIF block says nothing about which side is up; the pixels are good
        picture = ImageOps.exif_transpose(picture)
    return picture


def _over(picture: Image.Image, background: int) -> Image.Image:
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    canvas = Image.new("RGB", layer.size, (background,) * 3)
    canvas.paste(layer, mask=layer)
    return canvas
