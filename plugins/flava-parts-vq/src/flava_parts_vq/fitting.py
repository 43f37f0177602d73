"""Fitting the codebook of a run, without the run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flava_parts.data.keyed import keyed_generator
from flava_parts.data.loader import Batches
from flava_parts.errors import InputError
from flava_parts.spec import RunSpec
from flava_parts.train.run import FittedCodebook

from .autoencoder import AutoencoderCodebook


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a fit gave: how many pictures it saw, how many codes they use, and the mean squared error of pixels in
    [0, 1] that come back from their codes, if the codebook can rebuild pictures."""

    images: int
    vocab_size: int
    used: int
    error: float | None


def fit_of_run(spec: RunSpec, path: Path, *, images: int) -> Fitted:
    """Fit the codebook of ``spec`` on at most so many of its pictures, and write it to ``path``.

    The same spec gives the same codebook as the run would. Raises InputError if the run has no codebook that learns.
    """
    if spec.model.codebook is None:
        raise InputError("the run has no codebook; name one in model.codebook")
    if not spec.model.codebook.learns_from_images:
        raise InputError(f"{spec.model.codebook.type_name()} has nothing to fit, or weights already")
    codebook = spec.model.codebook.build()
    if not isinstance(codebook, FittedCodebook):
        raise InputError(f"{spec.model.codebook.type_name()} cannot be fitted")
    batches = Batches(data=spec.data, model=spec.model, batch_size=spec.train.batch_size, seed=spec.train.seed)
    pictures = batches.codebook_pixels(images)
    codebook.fit(pictures, keyed_generator(spec.train.seed, "codebook"))
    path.parent.mkdir(parents=True, exist_ok=True)
    codebook.save(path)
    codes = codebook(pictures)
    error = None
    if isinstance(codebook, AutoencoderCodebook):
        error = (codebook.rebuild(codes) - pictures).square().mean().item()
    return Fitted(
        images=len(pictures), vocab_size=spec.model.codebook.codes.vocab_size, used=len(codes.unique()), error=error
    )
