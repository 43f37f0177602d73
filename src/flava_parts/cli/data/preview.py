"""``flava-parts data preview``: a sheet of what a model is shown."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from ...errors import InputError
from ..options import Plugins, Set
from .named import File, Stream, named, spread

if TYPE_CHECKING:
    from ...data.sources.sample import Sample
    from ...data.sources.source_file import Named
    from ...report.preview import Card


def preview(
    file: File,
    stream: Stream = None,
    out: Annotated[Path, typer.Option(help="The PNG file to write.")] = Path("preview.png"),
    count: Annotated[int, typer.Option(min=1, max=200, help="So many samples, evenly spread.")] = 24,
    changes: Set = None,
    plugins: Plugins = None,
) -> None:
    """Draw samples with their captions, and what the run's masks leave of them. Those that cannot be used say why."""
    from ...data.sources.bad_sample import BadSampleError
    from ...report.preview import Card

    if out.is_dir():
        raise InputError(f"{out}: is a folder; name the PNG file to write")
    if not out.resolve().parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}; make it first")
    found = named(file, stream, changes, plugins)
    source = found.source.build()
    cards: list[Card] = []
    for index in spread(source, count):
        try:
            cards.append(_card(source.sample(index), found, index))
        except BadSampleError as error:
            cards.append(Card(error.key, fault=error.reason))
    _draw(cards, out, total=len(source))
    print(f"drawn: {out}")


def _draw(cards: Sequence[Card], out: Path, *, total: int) -> None:
    """Draw under a hidden name, so that ``out`` is whole or what it was before."""
    from ...report.preview import draw_preview

    hidden = out.with_name(f".{uuid4().hex}.png")
    try:
        draw_preview(cards, hidden, total=total)
        os.replace(hidden, out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from None
    finally:
        hidden.unlink(missing_ok=True)


def _card(sample: Sample, found: Named, index: int) -> Any:
    """The sample with a mask of its picture and one of its words, both drawn from its number."""
    from ...data.keyed import keyed_generator
    from ...inputs.pictures import rgb
    from ...report.preview import Card
    from ...spec import FlavaSpec

    model = found.model or FlavaSpec()
    pixels = hidden = None
    if sample.image is not None:
        import numpy as np

        pixels = np.asarray(rgb(sample.image, 255))
        if model.image_masker is not None:
            grid = model.image_encoder.tokens.grid
            masks = model.image_masker.build(grid=grid)(1, keyed_generator("preview", index, "image"))
            hidden = masks.reshape(grid.rows, grid.columns).numpy()
    masked = None
    if sample.text is not None and model.text_masker is not None:
        tokenizer = found.tokenizer.build()
        ids = tokenizer([sample.text])
        masker = model.text_masker.build(vocab=tokenizer.vocab)
        drawn = masker(ids.input_ids, ids.special_tokens_mask.bool(), keyed_generator("preview", index, "text"))
        masked = tokenizer.decode(drawn.ids[0, 1 : int(ids.attention_mask.sum()) - 1], skip_special_tokens=False)
    return Card(sample.key, pixels=pixels, hidden=hidden, caption=sample.text, masked=masked)
