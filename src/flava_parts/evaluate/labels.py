"""Labelled pictures, read one after the other, and how many of them are put into the right class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError

if TYPE_CHECKING:
    from ..data.sources.source import Source


class LabelledPictures:
    """The pictures of a source; ``labels`` grows with each that is read. Raises `InputError` without any.

    place: what messages begin with. classes: the names of the source's classes.
    """

    def __init__(self, source: Source, *, place: str, classes: Sequence[str]) -> None:
        if not classes:
            raise InputError(f"{place}: the pictures have no classes; take a source with labels, such as a folder")
        if not len(source):
            raise InputError(f"{place}: there is no picture")
        self._source = source
        self._place = place
        self._classes = classes
        self.labels: list[int] = []

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for sample in map(self._source.sample, range(len(self._source))):
            if sample.image is None:
                raise InputError(f"{self._place}: {sample.key} has no picture")
            if len(sample.labels) != 1 or not 0 <= sample.labels[0] < len(self._classes):
                raise InputError(
                    f"{self._place}: {sample.key} should have one of {len(self._classes)} classes as label"
                )
            self.labels.append(sample.labels[0])
            yield sample.image


def shares(right: Tensor, labels: Tensor, classes: Sequence[str]) -> dict[str, float]:
    """The share of the pictures of each class, of labels (N,), that are ``right`` (N,) bool; of classes that occur."""
    counts = torch.bincount(labels, minlength=len(classes)).tolist()
    found = torch.bincount(labels, weights=right.double(), minlength=len(classes)).tolist()
    return {name: hits / count for name, hits, count in zip(classes, found, counts, strict=True) if count}
