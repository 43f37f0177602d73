"""The laws of tokenizers and sources: where texts, pictures and ids come from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .bench import Bench, raised
from .law import LawError, law

TEXTS = ["a dog", "", "two birds over a very long river, and then some more words than fit into it " * 9, "Ünïcode 🐶"]
SAMPLES = 5
"""How many samples of a source are looked at."""


class TokenizerBench(Bench):
    """A tokenizer, on texts that are short, empty, too long and strange."""

    kind = "tokenizer"

    def equal(self, one: Any, other: Any) -> bool:
        return super().equal(one, other) and bool(torch.equal(one(TEXTS).input_ids, other(TEXTS).input_ids))


@law("return input_ids, attention_mask and special_tokens_mask (B, L) int64, cut to `length` and padded to the longest")
def batches(bench: TokenizerBench) -> None:
    """Texts become one batch: as wide as the longest, never wider than stated, padded with the vocabulary's padding."""
    tokens, vocab, length = bench.part(TEXTS), bench.spec.vocab(), bench.spec.length
    ids, keep, special = tokens.input_ids, tokens.attention_mask.bool(), tokens.special_tokens_mask.bool()
    if ids.dtype != torch.int64 or ids.dim() != 2 or ids.shape[0] != len(TEXTS):
        raise LawError(f"input_ids are {tuple(ids.shape)} {ids.dtype}, where ({len(TEXTS)}, L) int64 is expected")
    if not ids.shape == keep.shape == special.shape:
        raise LawError(f"masks are {tuple(keep.shape)} and {tuple(special.shape)} beside ids {tuple(ids.shape)}")
    if ids.shape[1] > length:
        raise LawError(f"{ids.shape[1]} tokens, but the spec states a length of {length}")
    if int(ids.min()) < 0 or int(ids.max()) >= vocab.size:
        raise LawError(f"ids go from {int(ids.min())} to {int(ids.max())}, beyond a vocabulary of {vocab.size}")
    if not (ids[~keep] == vocab.pad).all():
        raise LawError(f"padding is not the id {vocab.pad} that the vocabulary states")
    if not special[~keep].all():
        raise LawError("padding is not marked as special, so that a masker would choose it")


@law("let a text's ids depend on that text alone")
def row_by_row(bench: TokenizerBench) -> None:
    """A text has the same ids alone and among others."""
    among, keep = bench.part(TEXTS).input_ids, bench.part(TEXTS).attention_mask.bool()
    for row, text in enumerate(TEXTS):
        alone = bench.part([text])
        if alone.input_ids[alone.attention_mask.bool()].tolist() != among[row][keep[row]].tolist():
            raise LawError(f"{text[:20]!r} has other ids among other texts")


TokenizerBench.laws = (batches, row_by_row)


class SourceBench(Bench):
    """A source, opened."""

    kind = "source"

    def indices(self) -> list[int]:
        """A few samples, from the first to the last."""
        return sorted({int(index) for index in np.linspace(0, len(self.part) - 1, SAMPLES)})

    def equal(self, one: Any, other: Any) -> bool:
        return super().equal(one, other) and len(one) == len(other)


@law("return a `Sample` with every modality that `provides` lists, pictures as uint8 (H, W, 3 or 4), and known labels")
def samples(bench: SourceBench) -> None:
    """Samples hold what the spec provides, under keys of their own."""
    if not len(bench.part):
        raise LawError("there are no samples")
    keys: set[str] = set()
    for index in bench.indices():
        sample = bench.part.sample(index)
        keys.add(sample.key)
        for name, value in (("image", sample.image), ("text", sample.text)):
            if (value is None) == (name in bench.spec.provides):
                raise LawError(f"sample {index} has {'no' if value is None else 'a'} {name}, unlike `provides`")
        if sample.image is not None:
            image = sample.image
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
                raise LawError(f"the image of sample {index} is {image.shape} {image.dtype}")
        if any(not 0 <= label < len(bench.spec.classes) for label in sample.labels):
            raise LawError(f"sample {index} has the labels {sample.labels}, but there are {len(bench.spec.classes)}")
    if len(keys) < len(bench.indices()):
        raise LawError("two samples have one key")


@law("draw what varies from the generator that is given, and nothing without one")
def repeatable(bench: SourceBench) -> None:
    """The same index and generator give the same sample; without a generator nothing varies."""
    for index in bench.indices():
        for seed in (None, 0, 1):
            one, other = (
                bench.part.sample(index, None if seed is None else torch.Generator().manual_seed(seed))
                for _ in range(2)
            )
            if one.text != other.text or one.labels != other.labels or not _same_image(one.image, other.image):
                raise LawError(f"sample {index} varies" + (" without a generator" if seed is None else ""))


def _same_image(one: Any, other: Any) -> bool:
    return other is None if one is None else bool(np.array_equal(one, other))


@law("raise an error for an index that there is not, so that a loop over the source ends")
def ends(bench: SourceBench) -> None:
    """There is nothing behind the last sample."""
    if raised(lambda: bench.part.sample(len(bench.part))) is None:
        raise LawError(f"there are {len(bench.part)} samples, but another one behind them")


SourceBench.laws = (samples, repeatable, ends)
