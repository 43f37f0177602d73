"""What a text masker returns, and BERT's corruption of chosen tokens (Devlin et al. 2019, section 3.1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..facts import IGNORE, Vocab


class MaskedText(NamedTuple):
    """Corrupted ``ids`` (B, L), and ``labels`` (B, L): the original id where it was chosen, `IGNORE` elsewhere."""

    ids: Tensor
    labels: Tensor


def maskable(ids: Tensor, special: Tensor, vocab: Vocab) -> Tensor:
    """(B, L) bool: where ``ids`` (B, L) are neither ``special`` (B, L) nor special to ``vocab``, as padding is."""
    return ~(special.bool() | torch.isin(ids, torch.tensor(vocab.special, device=ids.device)))


def corrupt(
    ids: Tensor, chosen: Tensor, *, vocab: Vocab, mask_share: float, random_share: float, generator: torch.Generator
) -> MaskedText:
    """Corrupt ``ids`` (B, L) where ``chosen`` (B, L): a mask, a random id of the whole vocabulary, or no change.

    The three come with probabilities ``mask_share``, ``random_share`` and what these leave. ``ids`` is not written to.
    """
    kind = torch.rand(ids.shape, generator=generator, device="cpu").to(ids.device)
    stranger = torch.randint(vocab.size, ids.shape, generator=generator, device="cpu").to(ids)
    masked = chosen & (kind < mask_share)
    replaced = chosen & (kind >= mask_share) & (kind < mask_share + random_share)
    return MaskedText(
        ids=torch.where(replaced, stranger, ids.masked_fill(masked, vocab.mask)),
        labels=ids.masked_fill(~chosen, IGNORE),
    )
