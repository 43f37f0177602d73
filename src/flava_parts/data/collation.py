"""Texts, pictures and labels to the tensors of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from ..inputs.pictures import Picture
from ..inputs.views import Draws, TwoViews, Views
from ..inputs.wordpiece import WordPiece
from .sources.sample import Sample


def text_tensors(texts: Sequence[str], tokenizer: WordPiece, *, multiple: int = 1) -> dict[str, Tensor]:
    """The ids of B texts and what goes with them, (B, L) int64 each, named as in transformers.

    L is that of the longest, rounded up to a ``multiple``, but never more than the tokenizer's length.
    """
    batch = tokenizer(texts)
    longest = batch.input_ids.shape[1]
    missing = min(-longest % multiple, tokenizer.length - longest)
    fill = {"input_ids": tokenizer.vocab.pad, "special_tokens_mask": 1}
    return {
        name: functional.pad(tensor, (0, missing), value=fill.get(name, 0)) if missing else tensor
        for name, tensor in batch._asdict().items()
    }


def image_tensors(
    pictures: Sequence[Picture], views: Views, draws: Draws | None, *, codebook: bool = False
) -> dict[str, Tensor]:
    """The views of B pictures: whole, or, with ``draws``, randomly cropped and flipped; the codebook's too if asked."""
    return _named(views(pictures, draws, codebook=codebook))


def image_levels(
    pictures: Sequence[Picture], views: Views, draws: Draws | None, *, codebook: bool = False
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same as `Levels`: their views, and their tables by the same names."""
    found = views.levels(pictures, draws, codebook=codebook)
    return _named(found.views), _named(found.tables)


def _named(views: TwoViews) -> dict[str, Tensor]:
    return {name: view for name, view in views._asdict().items() if view is not None}


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
