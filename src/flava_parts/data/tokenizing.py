"""Codes of a run's pictures, computed once and written beside the data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..codebooks.codebook import Codebook
from ..errors import InputError
from ..facts import Codes
from ..inputs.pictures import Picture
from ..inputs.views import Views
from .codes import FACTS, crop_draws, fingerprint, source_name
from .keyed import name_number
from .sources.bad_sample import BadSampleError
from .sources.record import opened
from .sources.source import Source
from .sources.specs import SourceSpec

BATCH = 64
"""Pictures whose codes are computed at once."""


class _Made(NamedTuple):
    """How codes are made."""

    codebook: Codebook
    codes: Codes
    views: Views
    crops: int
    seed: int


def tokenize(
    folder: Path,
    *,
    codebook: Codebook,
    codes: Codes,
    views: Views,
    sources: Iterable[SourceSpec],
    crops: int,
    seed: int,
    log: Callable[[str], None] = print,
) -> int:
    """Write the codes of every picture of ``sources`` into ``folder``; how many samples were bad.

    codes: what ``codebook`` gives, as its spec states it.

    For each source there is an array (N, max(crops, 1), P) of the smallest type that holds the codes: those of
    ``crops`` random crops of each picture, keyed by seed, source, sample and crop, or, if ``crops`` is 0, of the whole
    picture. `codes.json`, written last, says what they are of. A bad sample has zeros, which are never read: training
    replaces it. Raises InputError if the folder holds codes already.
    """
    if (folder / FACTS).exists():
        raise InputError(f"{folder}: holds codes already; choose another folder, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    made = _Made(codebook, codes, views, crops, seed)
    written: dict[str, dict[str, int]] = {}
    for spec in sources:
        name = source_name(spec)
        if name in written:
            continue
        source = opened(spec, views)
        log(f"{name}: the codes of {len(source)} samples")
        written[name] = {"samples": len(source), "bad": _write(folder / f"{name}.npy", name, source, made)}
    facts = fingerprint(codebook, views, crops=crops, seed=seed) | {"sources": written}
    (folder / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return sum(entry["bad"] for entry in written.values())


def _write(path: Path, name: str, source: Source, made: _Made) -> int:
    """Write the codes of one source; how many samples are bad."""
    shape = (len(source), max(made.crops, 1), made.codes.grid.size)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.min_scalar_type(made.codes.vocab_size - 1), shape=shape)
    place = next(iter(made.codebook.state_dict().values())).device
    bad = 0
    for first in range(0, len(source), BATCH):
        pictures: dict[int, Picture] = {}
        for index in range(first, min(first + BATCH, len(source))):
            picture = _picture(source, index)
            if picture is not None:
                pictures[index] = picture
            else:
                bad += 1
        indices = np.fromiter(pictures, dtype=np.int64)
        for crop in range(shape[1]) if pictures else ():
            draws = crop_draws(made.seed, name_number(name), indices, crop) if made.crops else None
            pixels = made.views.codebook_view(
                list(pictures.values()), None if draws is None else torch.from_numpy(draws)
            )
            array[indices, crop] = made.codebook(pixels.to(place)).cpu().numpy()
    array.flush()
    return bad


def _picture(source: Source, index: int) -> Picture | None:
    try:
        return source.sample(index).image
    except BadSampleError:
        return None
