"""Labelled samples as the tensors of a classifier."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator, Tensor

from ..facts import Use
from ..inputs.views import Views
from ..inputs.wordpiece import WordPiece
from .collation import image_tensors, labels_of, text_tensors
from .reader import check_use
from .sources.source import Source


class Labelled:
    """A source's samples as inputs of a model, with the classes that they belong to.

    place: what messages begin with. use: what of each sample is read. classes: how many there are.
    multi_label: whether a sample may belong to any number of them.
    """

    def __init__(
        self,
        source: Source,
        *,
        place: str,
        use: Use,
        classes: int,
        multi_label: bool,
        tokenizer: WordPiece,
        views: Views,
    ) -> None:
        self._source = source
        self._place = place
        self._use: Use = use
        self._classes = classes
        self._multi_label = multi_label
        self._tokenizer = tokenizer
        self._views = views

    def __len__(self) -> int:
        return len(self._source)

    def tensors(self, indices: Sequence[int], generator: Generator | None = None) -> dict[str, Tensor]:
        """The inputs of B samples, and ``labels`` (B, V) bool; augmented if there is a generator.

        Raises InputError for a sample that lacks what is used, or has other labels than it may have.
        """
        samples = [self._source.sample(index, generator) for index in indices]
        for sample in samples:
            check_use(sample, self._use, source=self._place)
        tensors: dict[str, Tensor] = {}
        if self._use != "images":
            tensors |= text_tensors([sample.text or "" for sample in samples], self._tokenizer)
            del tensors["special_tokens_mask"]  # only masking reads it
        if self._use != "texts":
            pictures = [sample.image for sample in samples if sample.image is not None]
            tensors |= image_tensors(pictures, self._views, generator)
        tensors["labels"] = labels_of(samples, classes=self._classes, multi_label=self._multi_label, place=self._place)
        return tensors
