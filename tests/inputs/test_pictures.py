"""Pictures: every good kind becomes the right RGB, every bad one an error, none of them costs memory first."""

import io
import random
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from bad_pictures import BAD, GOOD
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from flava_parts.errors import InputError
from flava_parts.inputs.pictures import PictureError, open_picture, rgb, size_of

PIXELS = npst.arrays(np.uint8, st.tuples(st.integers(5, 9), st.integers(5, 9), st.just(3)))


def encoded(picture: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def gradient(height: int = 20, width: int = 30) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 12, columns * 8, rows + columns], axis=-1).astype(np.uint8)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


@given(PIXELS)
def test_all_ways_in_give_the_same_picture(pixels: np.ndarray) -> None:
    """Files, bytes, arrays and tensors of one picture, channels first or last, uint8 or float, are one picture."""
    first = pixels.transpose(2, 0, 1)
    ways = [
        encoded(Image.fromarray(pixels), "PNG"),
        encoded(Image.fromarray(pixels), "WEBP", lossless=True),
        Image.fromarray(pixels),
        pixels,
        first,
        pixels / 255,
        first.astype(np.float32) / 255,
        torch.from_numpy(pixels),
        torch.from_numpy(first.copy()),
        torch.from_numpy(first.copy()) / 255,
        pixels.astype(np.int64),
        torch.from_numpy(first.astype(np.uint16)),
    ]
    for way in ways:
        assert np.array_equal(pixels, np.asarray(rgb(way, 0)))


def test_a_tensor_has_channels_first_an_array_has_them_last() -> None:
    """Where both readings are possible, each library's own order is meant."""
    pixels = np.arange(3 * 8 * 3, dtype=np.uint8).reshape(3, 8, 3)

    assert np.array_equal(pixels, np.asarray(rgb(pixels, 0)))
    assert np.array_equal(pixels.transpose(1, 2, 0), np.asarray(rgb(torch.from_numpy(pixels), 0)))


def test_whole_floats_are_grey_levels_unless_all_are_up_to_1() -> None:
    """As many hold pictures; a picture of 0 and 1 alone is black and white."""
    assert rgb(np.full((4, 4, 3), 200.0), 0).getpixel((0, 0)) == (200, 200, 200)
    assert rgb(np.full((4, 4, 3), 1.0), 0).getpixel((0, 0)) == (255, 255, 255)


@given(npst.arrays(np.uint8, (6, 5, 4)), st.integers(0, 255))
def test_transparency_shows_the_background(pixels: np.ndarray, background: int) -> None:
    """Each channel is the mean of picture and background, weighted by opacity, within one grey level."""
    opacity = pixels[..., 3:] / 255
    expected = pixels[..., :3] * opacity + background * (1 - opacity)
    actual = np.asarray(rgb(pixels, background)).astype(float)

    assert np.abs(expected - actual).max() <= 1
    assert np.array_equal(rgb(pixels, background), rgb(encoded(Image.fromarray(pixels), "PNG"), background))


def test_trap_41_grey_and_transparent_pictures_are_taken() -> None:
    """Nobody has to call convert("RGB"): all of Pillow's modes come out as they look."""
    pixels = gradient()
    grey = Image.fromarray(pixels).convert("L")
    as_grey = np.stack([np.asarray(grey)] * 3, axis=-1)

    assert np.array_equal(as_grey, rgb(grey, 0))
    assert np.array_equal(as_grey, rgb(np.asarray(grey), 0))
    assert np.array_equal(as_grey, rgb(np.asarray(grey)[..., None], 0))
    for modes in ("1", "P", "LA", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", ("P", "PA"), ("RGBA", "RGBa")):
        converted = Image.fromarray(pixels)
        for mode in (modes,) if isinstance(modes, str) else modes:
            converted = converted.convert(mode)
        assert np.array_equal(converted.convert("RGBA").convert("RGB"), rgb(converted, 0)), modes


def test_a_palette_keeps_its_transparent_colour() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.putdata([0, 1])
    data = encoded(picture, "PNG", transparency=0)

    assert np.asarray(rgb(data, 9)).tolist() == [[[9, 9, 9], [0, 255, 0]]]


def test_16_bits_are_scaled_not_clipped() -> None:
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    actual = np.asarray(rgb(encoded(Image.fromarray(deep), "PNG"), 0))

    assert np.array_equal(np.rint(deep / 257).astype(np.uint8), actual[..., 0])
    assert np.array_equal(actual[..., 0], actual[..., 2])


def test_cmyk_files_are_read() -> None:
    picture = Image.fromarray(gradient()).convert("CMYK")
    actual = np.asarray(rgb(encoded(picture, "JPEG", quality=95), 0)).astype(int)

    assert np.abs(actual - np.asarray(picture.convert("RGB"))).mean() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_exif_turns_the_picture_upright(orientation: int, form: str) -> None:
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8, :8] = 255  # one white corner
    picture = Image.fromarray(stored)
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.asarray(rgb(encoded(picture, form, exif=exif), 0))
    corners = [bool(upright[y, x, 0] > 128) for y in (1, -2) for x in (1, -2)]

    assert ((16, 32) if orientation <= 4 else (32, 16)) == upright.shape[:2]
    assert {1: 0, 2: 1, 3: 3, 4: 2, 5: 0, 6: 1, 7: 3, 8: 2}[orientation] == corners.index(True)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_damaged_exif_block_does_not_cost_the_picture() -> None:
    data = encoded(Image.fromarray(gradient()), "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01" * 30)

    assert np.array_equal(gradient(), rgb(data, 0))


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_a_moving_picture_gives_its_first_frame(form: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], lossless=True)

    assert rgb(data, 0).getpixel((2, 2)) == (255, 0, 0)


def test_one_pixel_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    Image.new("RGB", (1, 1), "green").save(path)

    assert (1, 1) == rgb(path, 0).size == rgb(str(path), 0).size


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "picture: not the beginning of a JPEG, PNG or WebP picture"),
        (b"GIF89a\1\0\1\0\0\0\0;", "picture: not the beginning of a JPEG, PNG or WebP picture"),
        (encoded(Image.new("RGB", (9, 9)), "BMP"), "picture: not the beginning of a JPEG, PNG or WebP picture"),
        (b"\x00" + encoded(Image.new("RGB", (9, 9)), "PNG")[1:], "picture: not the beginning of"),
        (png_header(9, 9)[:20], "picture: n"),
        (png_header(99, 99), "picture: no picture could be read (image file is truncated"),
        (encoded(Image.fromarray(gradient()), "JPEG")[:-80], "picture: no picture could be read (image file is trunc"),
        (encoded(Image.fromarray(gradient()), "WEBP")[:-20], "picture: "),
        (png_header(8001, 8000), "picture: more than 64 megapixels; make it smaller"),
        (png_header(50_000, 50_000), "picture: more than 64 megapixels; make it smaller"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_wrong_files_are_refused_at_once(data: bytes, message: str) -> None:
    """Bombs by their header: neither time nor memory is spent on what they claim to hold."""
    start = time.perf_counter()
    with pytest.raises(InputError) as caught:
        open_picture(data)

    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert time.perf_counter() - start < 1


def test_a_bomb_that_pillow_opened_is_refused_too() -> None:
    with pytest.raises(InputError, match="more than 64 megapixels"):
        rgb(Image.open(io.BytesIO(png_header(9000, 8000))), 0)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_picture(tmp_path / "none.png")

    assert f"{tmp_path}/none.png: no picture could be read (No such file or directory)" == str(caught.value)
    with pytest.raises(InputError, match="Is a directory"):
        open_picture(str(tmp_path))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_mutated_files_raise_nothing_else(form: str) -> None:
    """Bytes overwritten, cut out or doubled: a picture or an `InputError`."""
    good = encoded(Image.fromarray(gradient()), form)
    lots = random.Random(form)
    for _ in range(150):
        data = bytearray(good)
        for _ in range(lots.randint(1, 4)):
            place = lots.randrange(len(data))
            match lots.randrange(3):
                case 0:
                    data[place] = lots.randrange(256)
                case 1:
                    del data[place : place + lots.randint(1, 20)]
                case _:
                    data[place:place] = data[place : place + lots.randint(1, 20)]
        try:
            picture = rgb(bytes(data), 255)
        except InputError:
            continue
        assert picture.mode == "RGB"


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (None, "NoneType is no picture; give a path, bytes, a Pillow image, an array or a tensor"),
        (np.zeros((5, 4, 2), np.uint8), "pixels of shape (5, 4, 2) are no picture; "),
        (np.zeros((0, 4, 3), np.uint8), "pixels of shape (0, 4, 3) are no picture; "),
        (torch.zeros(2, 3, 8, 8), "pixels of shape (2, 3, 8, 8) are no picture; "),
        (np.full((4, 4, 3), 2.5), "float pixels from 2.5 to 2.5; give floats from 0 to 1, or uint8"),
        (np.full((4, 4, 3), np.nan), "float pixels from nan to nan; "),
        (np.full((4, 4, 3), 256, np.uint16), "pixels of uint16 from 256 to 256; give floats from 0 to 1, or uint8"),
        (np.full((4, 4, 3), -1, np.int32), "pixels of int32 from -1 to -1; give floats from 0 to 1, or uint8"),
        (np.zeros((4, 4, 3), np.bool_), "pixels of bool from False to False; give floats from 0 to 1, or uint8"),
        (torch.full((3, 4, 4), 300), "pixels of int64 from 300 to 300; give floats from 0 to 1, or uint8"),
        (np.full((4, 4, 3), 254.5), "float pixels from 254.5 to 254.5; "),
        (Image.new("F", (2, 2)), "a picture of mode F; give RGB, or an array of floats from 0 to 1"),
    ],
)
def test_what_is_no_picture_is_refused(picture, message: str) -> None:
    with pytest.raises(InputError) as caught:
        rgb(picture, 0)

    assert str(caught.value).startswith(message)


@given(PIXELS)
@settings(max_examples=20)
def test_pixels_are_not_written_to(pixels: np.ndarray) -> None:
    pixels.flags.writeable = False
    copy = pixels.copy()
    rgb(pixels, 0)
    rgb(Image.fromarray(pixels), 0)

    assert np.array_equal(copy, pixels)


@pytest.mark.parametrize("kind", GOOD)
def test_the_size_is_known_from_the_head(kind: str) -> None:
    """That of the upright picture; of bombs and other formats it is the error that reading gives."""
    content, (height, width, _) = GOOD[kind][0](), GOOD[kind][1]

    assert (width, height) == size_of(content)


@pytest.mark.parametrize("kind", ["bomb", "GIF", "zero bytes"])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_size_of_what_is_no_picture_is_an_error(kind: str) -> None:
    content, reason = BAD[kind][0](), BAD[kind][1]
    for read in (size_of, open_picture):
        with pytest.raises(PictureError) as caught:
            read(content)
        assert reason == caught.value.reason
