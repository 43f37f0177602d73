"""Codebook indices that were computed once and are read from files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeInt
from torch import Tensor

from ..errors import InputError
from ..inputs.views import Views
from ..part import Spec
from .keyed import keyed_uniform, name_number
from .rows import Row
from .sources.specs import SourceSpec

if TYPE_CHECKING:
    from ..codebooks.codebook import Codebook

FACTS = "codes.json"
"""Says what the codes in a folder are of."""


class _SourceFacts(Spec):
    """What stands in `codes.json` of one source."""

    samples: NonNegativeInt
    bad: list[NonNegativeInt] | NonNegativeInt
    """The samples that could not be used and have no codes; older folders say only how many."""


class _Facts(Spec):
    """What stands in `codes.json`."""

    codebook: dict[str, Any]
    view: dict[str, Any]
    crops: NonNegativeInt
    seed: NonNegativeInt
    crop: dict[str, Any]
    sources: dict[str, _SourceFacts]


class Stored(NamedTuple):
    """What is stored of B samples."""

    codes: Tensor
    """(B, P) int64."""
    draws: Tensor | None
    """The (B, 5) numbers that say which crops they are of; None for whole pictures."""


class Codes:
    """The codes in a folder that `tokenize` wrote, mapped into memory: what is not read takes none.

    Raises InputError if the folder cannot be read, or lacks the codes of one of the ``sources`` (by stream).
    """

    def __init__(self, folder: str | Path, sources: Mapping[str, SourceSpec]) -> None:
        self._folder = Path(folder)
        self._facts = _facts(self._folder)
        self._crops, self._seed = self._facts.crops, self._facts.seed
        self._names = {stream: source_name(source) for stream, source in sources.items()}
        self._lacking = {name: _lacking(facts) for name, facts in self._facts.sources.items()}
        self._arrays: dict[str, NDArray[Any]] = {}

    def check(self, codebook: Codebook, views: Views, sizes: Mapping[str, int], streams: Sequence[str]) -> None:
        """Raise InputError, which names what differs, if the codes are not what ``codebook`` would give.

        sizes: how many samples each stream's source has. streams: the streams that need codes.
        """
        wanted = fingerprint(codebook, views, crops=self._crops, seed=self._seed)
        stored = self._facts.model_dump(include=set(wanted))
        if differences := _differences(stored, wanted):
            raise InputError(
                f"{self._folder}: the codes are of another codebook or other views: {'; '.join(differences)}; "
                "make them anew with `flava-parts data tokenize`, or leave data.codes out"
            )
        for stream in streams:
            facts = self._facts.sources.get(self._names[stream])
            if facts is None:
                raise InputError(
                    f"{self._folder}: holds no codes of the source of data.streams.{stream}; "
                    "make them with `flava-parts data tokenize`"
                )
            if facts.samples != sizes[stream]:
                raise InputError(
                    f"{self._folder}: holds codes of {facts.samples} samples, but the source of data.streams.{stream} "
                    f"has {sizes[stream]} now; make them anew with `flava-parts data tokenize`"
                )

    def of(self, rows: Sequence[Row], lots: NDArray[np.float64]) -> Stored:
        """The codes of rows, of one stored crop each, which the row's lot (from 0 up to 1) chooses.

        Raises InputError for a sample that could not be used when the codes were made, but can be now.
        """
        for row in rows:
            self._check_made(row)
        crops = (lots * max(self._crops, 1)).astype(np.int64)
        names = [self._names[row.stream] for row in rows]
        codes = np.stack(
            [self._array(name)[row.sample, crop] for name, row, crop in zip(names, rows, crops, strict=True)]
        )
        draws = None
        if self._crops:
            sources, indices = np.array([(name_number(n), row.sample) for n, row in zip(names, rows, strict=True)]).T
            draws = torch.from_numpy(crop_draws(self._seed, sources, indices, crops))
        return Stored(torch.from_numpy(codes.astype(np.int64)), draws)

    def _check_made(self, row: Row) -> None:
        name = self._names[row.stream]
        lacking = self._lacking.get(name, frozenset())
        if (row.sample in lacking) if lacking is not None else not self._array(name)[row.sample].any():
            raise InputError(
                f"{self._folder}: holds no codes of sample {row.sample} of the source of data.streams.{row.stream}, "
                "which could not be used when they were made; make them anew with `flava-parts data tokenize`"
            )

    def _array(self, name: str) -> NDArray[Any]:
        if name not in self._arrays:
            path = self._folder / f"{name}.npy"
            try:
                self._arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise InputError(f"{path}: the codes cannot be read ({error})") from error
        return self._arrays[name]


def fingerprint(codebook: Codebook, views: Views, *, crops: int, seed: int) -> dict[str, Any]:
    """What codes depend on besides the pictures: the codebook's weights, and how the codebook's view is made."""
    weights = hashlib.sha256()
    for name, tensor in sorted(codebook.state_dict().items()):
        weights.update(f"{name} {tuple(tensor.shape)} ".encode())
        weights.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    view = views.settings.codebook_view
    assert view is not None
    return {
        "codebook": {"kind": type(codebook).__name__, "weights": weights.hexdigest()},
        "view": view.model_dump(mode="json") | {"background": views.background, "least_side": views.least_side},
        "crops": crops,
        "seed": seed,
        "crop": {"scale": list(views.crop_scale), "flip": views.flip} if crops else {},
    }


def source_name(source: SourceSpec) -> str:
    """A source's name among stored codes: its type, and a digest of its spec."""
    spec = json.dumps(source.model_dump(mode="json"), sort_keys=True)
    return f"{source.type_name()}-{hashlib.sha256(spec.encode()).hexdigest()[:12]}"


def crop_draws(
    seed: int, sources: NDArray[np.int64] | int, indices: NDArray[np.int64], crops: NDArray[np.int64] | int
) -> NDArray[np.float64]:
    """The (N, 5) numbers that say what a stored crop of each sample is; ``sources`` are the numbers of their names."""
    return keyed_uniform((seed, "stored"), sources, indices, crops, count=5)


def _lacking(facts: _SourceFacts) -> frozenset[int] | None:
    """The samples without codes; None if it is not said which, so that they are told by their zeros."""
    if isinstance(facts.bad, list):
        return frozenset(facts.bad)
    return None if facts.bad else frozenset()


def _facts(folder: Path) -> _Facts:
    try:
        return _Facts.model_validate_json((folder / FACTS).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{folder / FACTS}: cannot be read ({error.strerror}); codes are made with `flava-parts data tokenize`"
        ) from error
    except ValueError as error:
        raise InputError(f"{folder / FACTS}: is not what `flava-parts data tokenize` writes") from error


def _differences(stored: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name in sorted(stored.keys() | wanted.keys()):
        there, here = stored.get(name), wanted.get(name)
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            found += _differences(cast(Mapping[str, Any], there), cast(Mapping[str, Any], here), f"{prefix}{name}.")
        elif there != here:
            found.append(f"{prefix}{name} is {_short(there)} there, {_short(here)} here")
    return found


def _short(value: Any) -> str:
    return f"{value[:8]}…" if isinstance(value, str) and len(value) > 40 else repr(value)
