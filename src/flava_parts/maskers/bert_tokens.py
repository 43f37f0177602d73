"""The token masker: chooses tokens one by one, as BERT does (Devlin et al. 2019, section 3.1; FLAVA section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..facts import Vocab
from .masked_text import MaskedText, corrupt, maskable


class BertTokenMasker:
    """``masker(ids, special, generator)`` -> `MaskedText`: each ordinary token is chosen with `probability`.

    Of the chosen, `mask_share` become the mask token, `random_share` a random token, and the rest stay as they are.
    """

    def __init__(
        self, *, vocab: Vocab, probability: float = 0.15, mask_share: float = 0.8, random_share: float = 0.1
    ) -> None:
        self.vocab = vocab
        self.probability = probability
        self.mask_share = mask_share
        self.random_share = random_share

    def __call__(self, ids: Tensor, special: Tensor, generator: torch.Generator) -> MaskedText:
        """Mask ``ids`` (B, L) outside ``special`` (B, L) and the vocabulary's special tokens, on the device of ``ids``.

        ``generator`` is a CPU one, so that the device does not change what is drawn.
        """
        lot = torch.rand(ids.shape, generator=generator, device="cpu").to(ids.device)
        return corrupt(
            ids,
            maskable(ids, special, self.vocab) & (lot < self.probability),
            vocab=self.vocab,
            mask_share=self.mask_share,
            random_share=self.random_share,
            generator=generator,
        )
