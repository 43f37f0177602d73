"""What is hidden, and what is mismatched, in the batches of a run."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from ..facts import MODALITIES, Streams, Use, Vocab, passes_to
from ..maskers.masked_text import MaskedText
from ..maskers.mismatch import MismatchedPairs
from ..part import PartSpec
from ..spec import FlavaSpec
from ..wiring import wire
from .keyed import keyed_generator


class MaskerCourse(Protocol):
    """Says what the maskers are at each step of a run."""

    def masker(self, slot: str, step: int) -> PartSpec | None:
        """The spec that fills ``image_masker``, ``text_masker`` or ``pair_masker``; None if it is empty."""
        ...


class Masking:
    """The masks of batches that are used alike; only those that one of their losses reads.

    All masks of a batch are drawn at once, for all of its rows and for texts of the full length, by seed and step.
    Whoever has some of the rows takes theirs, so that neither the number of processes nor padding changes a mask.

    losses: the names of the losses that are computed; all that apply if None.
    length: the most words (L) of a text.
    course: the maskers at each step; the model's own if None.
    """

    def __init__(
        self,
        model: FlavaSpec,
        *,
        use: Use,
        losses: tuple[str, ...] | None,
        vocab: Vocab,
        length: int,
        seed: int,
        course: MaskerCourse | None = None,
    ) -> None:
        applicable = [
            loss
            for name, loss in model.losses.items()
            if loss.weight and loss.needs == MODALITIES[use] and (losses is None or name in losses)
        ]
        reads = frozenset(stream for loss in applicable for stream in loss.reads)
        passes = passes_to(reads, wire(model, vocab).stream_passes)
        self.reads_codes = Streams.IMAGE_LABELS in reads
        """Whether a loss needs the code of each patch."""
        self._hides = {
            "pair_masker": use == "pairs" and Streams.MATCH_LABELS in reads,
            "image_masker": use != "texts" and "image_masked" in passes,
            "text_masker": use != "images" and "text_masked" in passes,
        }
        self._model = model
        self._course = course
        self._built: dict[str, tuple[PartSpec, Any]] = {}
        self._vocab = vocab
        self._length = length
        self._seed = seed

    def pairs(self, batch_size: int, step: int) -> MismatchedPairs | None:
        """Whose text each of B rows gets; None if nothing is to be matched."""
        masker = self._at("pair_masker", step)
        return None if masker is None else masker(batch_size, keyed_generator(self._seed, "pairs", step))

    def patches(self, batch_size: int, step: int) -> Tensor | None:
        """The hidden patches (B, P) bool; None if none are to be hidden."""
        masker = self._at("image_masker", step, grid=self._model.image_encoder.tokens.grid)
        return None if masker is None else masker(batch_size, keyed_generator(self._seed, "patches", step))

    def words(self, ids: Tensor, special: Tensor, rows: slice, batch_size: int, step: int) -> MaskedText | None:
        """Some ``rows`` of a batch, ids (b, l), with words hidden that are not ``special``; None if none are to be.

        The masks are those that the whole batch (B, L) has.
        """
        masker = self._at("text_masker", step, vocab=self._vocab)
        if masker is None:
            return None
        whole = torch.full((batch_size, self._length), self._vocab.pad, dtype=ids.dtype)
        never = torch.ones(batch_size, self._length, dtype=torch.bool)
        words = slice(0, ids.shape[1])
        whole[rows, words], never[rows, words] = ids, special.bool()
        masked = masker(whole, never, keyed_generator(self._seed, "words", step))
        return MaskedText(masked.ids[rows, words].contiguous(), masked.labels[rows, words].contiguous())

    def _at(self, slot: str, step: int, **facts: Any) -> Any:
        """The masker of a slot at a step, built again only if its spec has changed."""
        if not self._hides[slot]:
            return None
        spec: Any = getattr(self._model, slot) if self._course is None else self._course.masker(slot, step)
        if spec is None:
            return None
        if slot not in self._built or self._built[slot][0] != spec:
            self._built[slot] = (spec, spec.build(**facts))
        return self._built[slot][1]
