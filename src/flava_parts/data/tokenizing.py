"""Codes of a run's pictures, computed once and written beside the data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from ..codebooks.codebook import Codebook
from ..errors import InputError
from ..facts import Codes
from ..inputs.pictures import Picture
from ..inputs.views import Views
from .codes import FACTS, crop_draws, fingerprint, source_name
from .keyed import name_number
from .sources.bad_sample import BadSampleError
from .sources.byte_file import ByteFile, naming
from .sources.record import opened
from .sources.source import Source
from .sources.specs import SourceSpec

BATCH = 64
"""Pictures whose codes are computed at once."""


class _Written(TypedDict):
    """What `codes.json` says of a source."""

    samples: int
    bad: list[int]


class _Made(NamedTuple):
    """How codes are made."""

    codebook: Codebook
    codes: Codes
    views: Views
    crops: int
    seed: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest type that holds the codes."""
        return np.min_scalar_type(self.codes.vocab_size - 1)


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
    picture. `codes.json`, written last, says what they are of. A bad sample, which it lists, has zeros: training
    replaces it, and `Codes` does not give them. Raises InputError if the folder holds codes already, or cannot be
    written.
    """
    with naming(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    if (folder / FACTS).exists():
        raise InputError(f"{folder}: holds codes already; choose another folder, or remove it")
    made = _Made(codebook, codes, views, crops, seed)
    written: dict[str, _Written] = {}
    for spec in sources:
        name = source_name(spec)
        if name in written:
            continue
        source = opened(spec, views)
        log(f"{name}: the codes of {len(source)} samples")
        written[name] = {"samples": len(source), "bad": _write(folder / f"{name}.npy", name, source, made)}
    facts = fingerprint(codebook, views, crops=crops, seed=seed) | {"sources": written}
    ByteFile(str(folder / FACTS)).replace((json.dumps(facts, indent=2) + "\n").encode())
    return sum(len(entry["bad"]) for entry in written.values())


def _write(path: Path, name: str, source: Source, made: _Made) -> list[int]:
    """Write the codes of one source; which samples are bad."""
    shape = (len(source), max(made.crops, 1), made.codes.grid.size)
    bad: list[int] = []
    try:
        with path.open("wb") as file:
            facts = {"descr": made.dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, facts)
            for first in range(0, len(source), BATCH):
                samples = range(first, min(first + BATCH, len(source)))
                pictures = {index: picture for index in samples if (picture := _picture(source, index)) is not None}
                bad += [index for index in samples if index not in pictures]
                codes = np.zeros((len(samples), *shape[1:]), made.dtype)
                _fill(codes, first, pictures, name, made)
                file.write(codes.tobytes())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    return bad


def _fill(codes: NDArray[Any], first: int, pictures: Mapping[int, Picture], name: str, made: _Made) -> None:
    """Put the codes of a source's pictures into those (B, max(crops, 1), P) of its samples from the ``first`` on."""
    place = next(iter(made.codebook.state_dict().values())).device
    indices = np.fromiter(pictures, dtype=np.int64)
    for crop in range(codes.shape[1]) if pictures else ():
        draws = crop_draws(made.seed, name_number(name), indices, crop) if made.crops else None
        pixels = made.views.codebook_view(list(pictures.values()), None if draws is None else torch.from_numpy(draws))
        codes[indices - first, crop] = made.codebook(pixels.to(place)).cpu().numpy()


def _picture(source: Source, index: int) -> Picture | None:
    try:
        return source.sample(index).image
    except BadSampleError:
        return None
