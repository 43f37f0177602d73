"""Samples to the tensors of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from ..errors import InputError
from ..inputs.views import Views
from ..inputs.wordpiece import WordPiece
from .sources.sample import Sample

Use = Literal["pairs", "images", "texts"]
"""What of each sample goes into a batch."""


def collate(
    samples: Sequence[Sample],
    *,
    use: Use,
    place: str,
    tokenizer: WordPiece,
    views: Views,
    generator: Generator | None,
    codebook: bool = False,
) -> dict[str, Tensor]:
    """A model's inputs from B samples: whole pictures, or, with a generator, randomly cropped and flipped ones.

    ``codebook`` asks for the codebook's view too. Raises InputError, which begins with ``place``, for a sample that
    lacks what is used.
    """
    tensors: dict[str, Tensor] = {}
    if use != "images":
        tensors.update(tokenizer([text_of(sample, place) for sample in samples])._asdict())
    if use != "texts":
        both = views([image_of(sample, place) for sample in samples], generator, codebook=codebook)
        tensors["pixel_values"] = both.pixel_values
        if both.codebook_pixel_values is not None:
            tensors["codebook_pixel_values"] = both.codebook_pixel_values
    return tensors


def labels_of(samples: Sequence[Sample], *, classes: int, multi_label: bool, place: str) -> Tensor:
    """The classes (B, V) bool that B samples belong to: exactly one each, unless ``multi_label``.

    Raises InputError, which begins with ``place``, for other numbers of labels and for those that are no class.
    """
    labels = torch.zeros(len(samples), classes, dtype=torch.bool)
    for row, sample in zip(labels, samples, strict=True):
        if not multi_label and len(sample.labels) != 1:
            raise InputError(
                f"{place}: sample {sample.key} has {len(sample.labels)} labels, not one; "
                "a head with multi_label: true takes any number"
            )
        for label in sample.labels:
            if not 0 <= label < classes:
                raise InputError(
                    f"{place}: sample {sample.key} has the label {label}, but the {classes} classes are numbered from 0"
                )
            row[label] = True
    return labels


def text_of(sample: Sample, place: str) -> str:
    """A sample's text. Raises InputError if it has none."""
    if sample.text is None:
        raise InputError(f"{place}: sample {sample.key} has no text")
    return sample.text


def image_of(sample: Sample, place: str) -> NDArray[np.uint8]:
    """A sample's picture. Raises InputError if it has none."""
    if sample.image is None:
        raise InputError(f"{place}: sample {sample.key} has no picture")
    return sample.image
