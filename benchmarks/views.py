"""P6: two views and a mask of each picture, beside transformers' fast image processor.

As many threads take part as torch has; the peer's resizing is one thread's work.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image
from transformers import FlavaImageProcessor

from flava_parts.data.specs import DataSpec
from flava_parts.inputs.processor import Processor
from flava_parts.inputs.specs import ViewsSpec
from flava_parts.spec import FlavaSpec

from .rivals import Row, in_turn

PICTURES = 16
WIDTH, HEIGHT = 640, 480


def photographs(count: int) -> list[Image.Image]:
    """Pictures as smooth as photographs are, 640x480: noise of a few pixels, enlarged, and a little grain."""
    random = np.random.default_rng(0)
    found: list[Image.Image] = []
    for _ in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.int16)
        grain = random.integers(-6, 7, smooth.shape)
        found.append(Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)))
    return found


def files(pictures: Sequence[Image.Image]) -> list[bytes]:
    """Each as a JPEG file of usual quality."""
    found: list[bytes] = []
    for picture in pictures:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=90)
        found.append(buffer.getvalue())
    return found


def ours(backend: str, *, shrink: bool = False) -> Processor:
    """The processor of flava-full's sizes."""
    views = ViewsSpec.model_validate({"backend": backend, "shrink_on_load": shrink})
    return Processor.of(FlavaSpec(), DataSpec(streams={}, views=views))


def rows(*, smoke: bool, rounds: int) -> Iterator[Row]:
    """Views and masks from decoded pictures, and from files, by each back end; the peer decodes by Pillow."""
    asked: dict[str, Any] = {"return_codebook_pixels": True, "return_image_mask": True, "return_tensors": "pt"}
    pictures = photographs(2 if smoke else PICTURES)
    arrays, stored = [np.array(picture) for picture in pictures], files(pictures)
    large = files([picture.resize((2 * WIDTH, 2 * HEIGHT)) for picture in pictures])
    peer = FlavaImageProcessor()
    for backend in ("torchvision", "pil"):
        own = ours(backend)
        decoded = in_turn(
            lambda own=own: own(images=arrays, **asked), lambda: peer(images=arrays, **asked), rounds=rounds
        )
        yield Row("P6", f"two views and a mask of {len(arrays)} decoded pictures, {backend}", *decoded, 2.0)
        for what, processor, content in (
            ("", own, stored),
            (" of twice the sides, shrunk on load", ours(backend, shrink=True), large),
        ):
            read = in_turn(
                lambda processor=processor, content=content: processor(images=content, **asked),
                lambda content=content: peer(images=[_decoded(file) for file in content], **asked),
                rounds=rounds,
            )
            yield Row("P6f", f"the same from {len(stored)} JPEG files{what}, {backend}", *read, 1.0)


def _decoded(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(file)).convert("RGB")
