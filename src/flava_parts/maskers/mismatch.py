"""The pair masker: gives some images the text of another row, for image-text matching (FLAVA section 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class MismatchedPairs(NamedTuple):
    """Which pairs to match: the row of the text that each image gets, and 1 where that is its own, 0 where not.

    ``texts`` and ``labels`` are (B,) int64 on the CPU.
    """

    texts: Tensor
    labels: Tensor


class MismatchMasker:
    """``masker(batch, generator)`` -> `MismatchedPairs`: each image gets another row's text with `probability`.

    All other rows are equally likely. A batch of one has none, and stays matched.
    """

    def __init__(self, *, probability: float = 0.1) -> None:
        self.probability = probability

    def __call__(self, batch: int, generator: torch.Generator) -> MismatchedPairs:
        """Draw for ``batch`` rows from a CPU ``generator``."""
        row = torch.arange(batch, device="cpu")
        mismatched = torch.rand(batch, generator=generator, device="cpu") < self.probability
        step = torch.randint(1, max(batch, 2), (batch,), generator=generator, device="cpu")
        texts = torch.where(mismatched, (row + step) % max(batch, 1), row)
        return MismatchedPairs(texts=texts, labels=(texts == row).long())
