"""The laws of maskers: they draw from the generator that they are given, and from nothing else."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from ..facts import IGNORE, Grid, Vocab
from .bench import Bench
from .law import LawError, law

BATCH = 64


class MaskerBench(Bench):
    """A masker, and a draw from it."""

    @abstractmethod
    def draw(self, part: Any, seed: int) -> tuple[Tensor, ...]:
        """The tensors of one draw from a generator with this seed."""

    def equal(self, one: Any, other: Any) -> bool:
        drawn = self.draw(one, 0)
        # One that never draws the same twice breaks another law.
        return super().equal(one, other) and _equal(drawn, self.draw(one, 0)) <= _equal(drawn, self.draw(other, 0))


def _equal(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(here, there) for here, there in zip(one, other, strict=True))


@law("draw from the generator alone: torch.rand(..., generator=generator), never random, numpy or torch's own state")
def generator(bench: MaskerBench) -> None:
    """The same generator gives the same draw, and nothing else is drawn from."""
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = bench.draw(bench.part, 0)
    if not torch.equal(state, torch.get_rng_state()):
        raise LawError("it draws from torch's global generator")
    if not _equal(first, bench.draw(bench.part, 0)):
        raise LawError("two draws from generators of one seed differ")


class ImageMaskerBench(MaskerBench):
    """An image masker on the model's grid."""

    kind = "image_masker"

    @property
    def grid(self) -> Grid:
        """The model's, or one with room for what is to be hidden: blocks do not fit everywhere."""
        grid, side = self.model.image_encoder.tokens.grid, 1
        while side * side < 2 * self.spec.total:
            side += 1
        return grid if grid.size >= 2 * self.spec.total else Grid(side, side + 1)

    def given(self) -> dict[str, Any]:
        return {"grid": self.grid}

    def draw(self, part: Any, seed: int) -> tuple[Tensor, ...]:
        return (part(BATCH, torch.Generator().manual_seed(seed)),)


@law("return (B, P) bool, at most `total` true in each row, row by row over the grid")
def masks(bench: ImageMaskerBench) -> None:
    """Each image has a mask of its grid, and no more hidden than stated."""
    for batch in (1, BATCH):
        hidden = bench.part(batch, torch.Generator().manual_seed(0))
        if hidden.dtype != torch.bool or tuple(hidden.shape) != (batch, bench.grid.size):
            raise LawError(f"{tuple(hidden.shape)} {hidden.dtype}, where ({batch}, {bench.grid.size}) bool is expected")
        if int(hidden.sum(1).max()) > bench.spec.total:
            raise LawError(f"{int(hidden.sum(1).max())} patches are hidden, but the spec states {bench.spec.total}")
    if bench.spec.total and not bench.part(64, torch.Generator().manual_seed(0)).any():  # one alone may be unlucky
        raise LawError("nothing is ever hidden")


ImageMaskerBench.laws = (generator, masks)


class TextMaskerBench(MaskerBench):
    """A text masker on random ids, each text padded."""

    kind = "text_masker"
    vocab = Vocab(size=200, continuations=frozenset(range(180, 200)))

    def given(self) -> dict[str, Any]:
        return {"vocab": self.vocab}

    def text(self) -> tuple[Tensor, Tensor]:
        """Ids (B, L), and which are special (B, L)."""
        ids = torch.randint(110, 200, (BATCH, 12), generator=torch.Generator().manual_seed(0))
        ids[:, 0], ids[:, -3], ids[:, -2:] = self.vocab.summary, self.vocab.separator, self.vocab.pad
        special = torch.zeros_like(ids, dtype=torch.bool)
        special[:, 0] = special[:, -3:] = True
        return ids, special

    def draw(self, part: Any, seed: int) -> tuple[Tensor, ...]:
        masked = part(*self.text(), torch.Generator().manual_seed(seed))
        return masked.ids, masked.labels


@law("label what was chosen with its id and everything else with IGNORE; leave special tokens and the input alone")
def labels(bench: TextMaskerBench) -> None:
    """What is labelled has its original id, what is not is unchanged; special tokens are never chosen."""
    ids, special = bench.text()
    before = ids.clone()
    masked = bench.part(ids, special, torch.Generator().manual_seed(0))
    labelled = masked.labels != IGNORE
    if not torch.equal(before, ids):
        raise LawError("the ids that came in were written to")
    if masked.ids.shape != ids.shape or masked.labels.shape != ids.shape:
        raise LawError(f"ids {tuple(ids.shape)} become {tuple(masked.ids.shape)}, labels {tuple(masked.labels.shape)}")
    if not torch.equal(ids[labelled], masked.labels[labelled]):
        raise LawError("a label is not the id that stood there")
    if not torch.equal(ids[~labelled], masked.ids[~labelled]):
        raise LawError("an id without a label was changed")
    if (labelled & special).any():
        raise LawError("a special token was chosen")
    if masked.ids.min() < 0 or masked.ids.max() >= bench.vocab.size:
        raise LawError("an id is outside the vocabulary")


TextMaskerBench.laws = (generator, labels)


class PairMaskerBench(MaskerBench):
    """A pair masker."""

    kind = "pair_masker"

    def draw(self, part: Any, seed: int) -> tuple[Tensor, ...]:
        pairs = part(BATCH, torch.Generator().manual_seed(seed))
        return pairs.texts, pairs.labels


@law("return the row of each image's text, and 1 where that is its own, 0 where not")
def pairs(bench: PairMaskerBench) -> None:
    """Texts are rows of the batch, and labels say which are the image's own."""
    for batch in (1, BATCH):
        found = bench.part(batch, torch.Generator().manual_seed(0))
        texts, labels = found.texts, found.labels
        if tuple(texts.shape) != (batch,) or tuple(labels.shape) != (batch,):
            raise LawError(f"texts {tuple(texts.shape)} and labels {tuple(labels.shape)}, where ({batch},) is expected")
        if int(texts.min()) < 0 or int(texts.max()) >= batch:
            raise LawError("a text is no row of the batch")
        if not torch.equal(labels, (texts == torch.arange(batch)).long()):
            raise LawError("a label is 1 beside another row's text, or 0 beside the image's own")


PairMaskerBench.laws = (generator, pairs)
