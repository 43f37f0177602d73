"""``flava-parts embed``: pictures or texts to vectors in the shared space."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .models import BatchSize, Device, Model, Progress, opened
from .options import Plugins

if TYPE_CHECKING:
    from torch import Tensor

    from ..inputs.processor import Processor


class OnError(StrEnum):
    """What becomes of a picture that cannot be read."""

    SKIP = "skip"
    RAISE = "raise"


def embed(
    source: Annotated[Path, typer.Argument(help="A folder of pictures, or a file with one text a line.")],
    model: Model,
    out: Annotated[Path, typer.Option(help="The safetensors file to write.")],
    on_error: Annotated[
        OnError, typer.Option(help="A picture that cannot be read: skip it and say so, or stop.")
    ] = OnError.SKIP,
    batch_size: BatchSize = 256,
    device: Device = None,
    plugins: Plugins = None,
) -> None:
    """Write a unit vector for each picture of a folder, and of those in it, or for each line of a file.

    The file has `embeddings` (N, D) and `names`; `flava_parts.evaluate.vectors.read_vectors` reads it.
    """
    import torch

    from ..evaluate.embedding import picture_vectors, text_vectors
    from ..evaluate.vectors import write_vectors

    if not out.resolve().parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}; make it first")
    of_pictures = source.is_dir()
    names = _pictures(source) if of_pictures else _lines(source)
    using, processor = opened(model, device, plugins)
    with Progress() as progress, torch.inference_mode():
        place = next(using.parameters()).device
        if of_pictures:
            kept: list[str] = []
            vectors = picture_vectors(
                using.embed_image,
                _pixels(processor, source, names, kept, on_error),
                total=len(names),
                device=place,
                batch_size=batch_size,
                watch=progress,
            )
        else:
            kept = names
            vectors = text_vectors(using, processor, names, device=place, batch_size=batch_size, watch=progress)
    write_vectors(out, vectors, kept)
    skipped = f"; {len(names) - len(kept)} skipped" if len(kept) < len(names) else ""
    print(f"{out}: {len(kept)} vectors of {vectors.shape[1]} from {source}{skipped}")


def _pictures(folder: Path) -> list[str]:
    """The pictures below a folder, as paths relative to it; no hidden ones."""
    from ..data.sources.folder import SUFFIXES

    found = [
        path.relative_to(folder)
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    names = [path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts)]
    if not names:
        raise InputError(f"{folder}: holds no JPEG, PNG or WebP picture")
    return names


def _lines(file: Path) -> list[str]:
    """The lines of a file that are not blank."""
    wanted = "give a folder of pictures, or a file with one text a line"
    try:
        content = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); {wanted}") from None
    except UnicodeDecodeError:
        raise InputError(f"{file}: is not UTF-8 text; {wanted}") from None
    lines = [line.strip() for line in content.split("\n")]
    if not any(lines):
        raise InputError(f"{file}: holds no text; write one a line")
    return [line for line in lines if line]


def _pixels(
    processor: Processor, folder: Path, names: list[str], kept: list[str], on_error: OnError
) -> Iterator[Tensor]:
    """Each picture as pixels (1, C, H, W); the names of those that could be read go into ``kept``."""
    for name in names:
        try:
            pixels = processor(images=[folder / name])["pixel_values"]
        except InputError as error:
            if on_error is OnError.RAISE:
                raise
            print(f"skipped: {error}", file=sys.stderr, flush=True)
        else:
            kept.append(name)
            yield pixels
