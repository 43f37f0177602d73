"""Labelled samples as the batches of a fine-tuning, and as what it is measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import InputError
from ..facts import Use
from ..inputs.views import Draws, Views
from ..inputs.wordpiece import WordPiece
from .collation import image_tensors, labels_of, text_tensors
from .loader import Batch, crops
from .order import Order, check_batch
from .reader import BadSample, OnError, Reader, check_use
from .rows import Row
from .sources.bad_sample import BadSampleError
from .sources.record import opened
from .sources.sample import Sample
from .sources.specs import SourceSpec


@dataclass(frozen=True)
class Labelling:
    """How labelled samples become inputs of a model, and the classes that they belong to.

    use: what of each sample is read. classes: how many there are. multi_label: whether a sample may belong to any
    number of them.
    """

    use: Use
    classes: int
    multi_label: bool
    tokenizer: WordPiece
    views: Views

    def tensors(self, samples: Sequence[Sample], draws: Draws | None = None, *, place: str) -> dict[str, Tensor]:
        """The inputs of B samples, and ``labels`` (B, V) bool; cropped and flipped if there are ``draws``.

        Raises InputError, which begins with ``place``, for a sample with other labels than it may have.
        """
        tensors: dict[str, Tensor] = {}
        if self.use != "images":
            tensors |= text_tensors([sample.text or "" for sample in samples], self.tokenizer)
            del tensors["special_tokens_mask"]  # only masking reads it
        if self.use != "texts":
            pictures = [sample.image for sample in samples if sample.image is not None]
            tensors |= image_tensors(pictures, self.views, draws)
        tensors["labels"] = labels_of(samples, classes=self.classes, multi_label=self.multi_label, place=place)
        return tensors


class LabelledBatches:
    """The batches of a fine-tuning, each a function of seed and step; what `Loading` makes ahead.

    Order, crops, and what a source draws follow from seed, epoch and sample, and a bad sample is replaced, as in a
    pretraining. ``stream``, the source's place in ``data``, is what its samples are told under. Raises InputError if
    there are fewer samples than a batch has.

    Can be sent to other processes: what travels are the arguments, and the source is opened where it is read.
    """

    rank = 0

    def __init__(
        self, source: SourceSpec, labelling: Labelling, *, stream: str, batch_size: int, seed: int, on_error: OnError
    ) -> None:
        self._arguments: dict[str, Any] = {
            "source": source,
            "labelling": labelling,
            "stream": stream,
            "batch_size": batch_size,
            "seed": seed,
            "on_error": on_error,
        }
        self._labelling, self._stream, self._batch_size, self._seed = labelling, stream, batch_size, seed
        samples = opened(source, labelling.views)
        self._order = Order(size=len(samples), key=(seed, "order", stream))
        self.reader = Reader(
            sources={stream: samples}, uses={stream: labelling.use}, seed=seed, on_error=on_error, place="data"
        )
        try:
            check_batch(len(samples), batch_size)
        except InputError as error:
            raise InputError(f"data.{stream}: {error}") from error

    def __reduce__(self) -> tuple[Callable[..., LabelledBatches], tuple[dict[str, Any], tuple[BadSample, ...]]]:
        return _remade, (self._arguments, self.reader.quarantined)

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        size = self._batch_size
        read = [self.reader(Row(self._stream, *place)) for place in self._order.batch(step, size=size)]
        draws = crops(self._seed, [one.row for one in read])
        tensors = self._labelling.tensors([one.sample for one in read], draws, place=f"data.{self._stream}")
        metrics = {f"epoch/{self._stream}": (step + 1) * size / self._order.size}
        return Batch.of(self._stream, None, tensors, metrics, read)


def _remade(arguments: dict[str, Any], quarantined: Sequence[BadSample]) -> LabelledBatches:
    batches = LabelledBatches(**arguments)
    for bad in quarantined:
        batches.reader.quarantine(bad)
    return batches


class HeldOut:
    """Labelled samples to measure a model on, as they are: nothing is drawn, and a bad one is left out.

    Unless errors are to be raised. Afterwards ``bad`` has how many there were.
    """

    def __init__(self, source: SourceSpec, labelling: Labelling, *, stream: str, on_error: OnError) -> None:
        self._labelling, self._stream, self._on_error = labelling, stream, on_error
        self._samples = opened(source, labelling.views)
        self.bad = 0

    def batches(self, size: int) -> Iterator[dict[str, Tensor]]:
        """The tensors of all samples, of at most ``size`` at a time."""
        self.bad = 0
        for first in range(0, len(self._samples), size):
            found = [self._sample(index) for index in range(first, min(first + size, len(self._samples)))]
            samples = [sample for sample in found if sample is not None]
            self.bad += len(found) - len(samples)
            if samples:
                yield self._labelling.tensors(samples, place=f"data.{self._stream}")

    def _sample(self, index: int) -> Sample | None:
        try:
            sample = self._samples.sample(index)
            check_use(sample, self._labelling.use, source=f"data.{self._stream}")
        except BadSampleError:
            if self._on_error == "raise":
                raise
            return None
        return sample
