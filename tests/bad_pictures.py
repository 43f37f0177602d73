"""Files of pictures, good ones of odd kinds and bad ones of every kind, made for a test."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image, PngImagePlugin


def gradient(height: int = 20, width: int = 30) -> np.ndarray:
    """Pixels (H, W, 3) that differ everywhere."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 12, columns * 8, rows + columns], axis=-1).astype(np.uint8)


def encoded(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    """The file of a picture."""
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@cache
def bomb(width: int, height: int) -> bytes:
    """A PNG that claims so many pixels and holds 400 rows of them, black, in a thousandth of their bytes."""
    packer = zlib.compressobj(1)
    content = b"".join(packer.compress(bytes(width * 3 + 1)) for _ in range(400)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def with_chunk(kind: bytes, data: bytes) -> bytes:
    """A good PNG with one more chunk behind its header."""
    good = encoded(Image.fromarray(gradient()))
    return good[:33] + chunk(kind, data) + good[33:]


def exif_rotated() -> bytes:
    """A JPEG, 30 pixels wide and 20 high as stored, that is to be turned by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(gradient()), "JPEG", exif=exif)


def animated(form: str, **options: object) -> bytes:
    """A picture that moves: first red, then blue."""
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    return encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)


def text_heavy() -> bytes:
    """A PNG with a long comment."""
    comment = PngImagePlugin.PngInfo()
    comment.add_text("comment", "x" * 100_000)
    return encoded(Image.fromarray(gradient()), pnginfo=comment)


GOOD: dict[str, tuple[Callable[[], bytes], tuple[int, int, int]]] = {
    "jpeg": (lambda: encoded(Image.fromarray(gradient()), "JPEG"), (20, 30, 3)),
    "png": (lambda: encoded(Image.fromarray(gradient())), (20, 30, 3)),
    "webp": (lambda: encoded(Image.fromarray(gradient()), "WEBP"), (20, 30, 3)),
    "grey": (lambda: encoded(Image.fromarray(gradient()[..., 0])), (20, 30, 3)),
    "cmyk": (lambda: encoded(Image.fromarray(gradient()).convert("CMYK"), "JPEG"), (20, 30, 3)),
    "16-bit": (lambda: encoded(Image.fromarray(np.full((5, 4), 257 * 99, np.uint16))), (5, 4, 3)),
    "palette": (lambda: encoded(Image.fromarray(gradient()).convert("P")), (20, 30, 3)),
    "transparent": (lambda: encoded(Image.new("RGBA", (3, 2), (9, 8, 7, 6))), (2, 3, 4)),
    "animated-webp": (lambda: animated("WEBP", lossless=True), (4, 4, 3)),
    "animated-png": (lambda: animated("PNG"), (4, 4, 3)),
    "one-pixel": (lambda: encoded(Image.new("RGB", (1, 1), "green")), (1, 1, 3)),
    "exif-rotated": (exif_rotated, (30, 20, 3)),
    "huge-exif": (lambda: with_chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff" + bytes(5_000_000)), (20, 30, 3)),
    "huge-icc": (lambda: encoded(Image.fromarray(gradient()), "WEBP", icc_profile=bytes(5_000_000)), (20, 30, 3)),
    "long-comment": (text_heavy, (20, 30, 3)),
    "mislabelled": (lambda: encoded(Image.fromarray(gradient()), "WEBP", lossless=True), (20, 30, 3)),
}
"""The files by what is odd about them, each with the shape of its pixels; all are stored under the ending .jpg."""

BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "zero bytes": (lambda: b"", "empty-file"),
    "cut-off JPEG": (lambda: encoded(Image.fromarray(gradient()), "JPEG")[:-80], "truncated"),
    "cut-off PNG": (lambda: encoded(Image.fromarray(gradient(99, 99)))[:-80], "truncated"),
    "cut-off WebP": (lambda: encoded(Image.fromarray(gradient()), "WEBP")[:-20], "truncated"),
    "GIF": (lambda: animated("GIF"), "not-a-picture"),
    "web page": (lambda: b"<!DOCTYPE html><html>404</html>", "not-a-picture"),
    "wrong magic": (lambda: b"\x00" + encoded(Image.fromarray(gradient()))[1:], "not-a-picture"),
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n(x) (w) file\n", "not-a-picture"),
    "bomb": (lambda: bomb(50_000, 50_000), "too-large"),
    "just too many pixels": (lambda: bomb(8_001, 8_000), "too-large"),
    "ICC bomb": (lambda: with_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(100_000_000), 1)), "damaged"),
    "text bomb": (lambda: with_chunk(b"zTXt", b"t\0\0" + zlib.compress(bytes(100_000_000), 1)), "damaged"),
    "flipped bits": (lambda: encoded(Image.fromarray(gradient())).replace(b"IDAT", b"IDAT\xff\xff"), "damaged"),
}
"""The files by what is wrong with them, each with the reason that is given."""
