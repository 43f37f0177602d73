"""The word masker: chooses whole words, all pieces of a word or none, as BERT's later checkpoints were trained."""

from __future__ import annotations

import torch
from torch import Tensor

from ..facts import Vocab
from .masked_text import MaskedText, corrupt, maskable


class WholeWordMasker:
    """``masker(ids, special, generator)`` -> `MaskedText`: each word is chosen with `probability`, all its pieces.

    Of the chosen pieces, one by one, `mask_share` become the mask token, `random_share` a random token, and the rest
    stay as they are.

    Raises ValueError if ``vocab`` does not say which ids continue a word.
    """

    def __init__(
        self, *, vocab: Vocab, probability: float = 0.15, mask_share: float = 0.8, random_share: float = 0.1
    ) -> None:
        if not vocab.continuations:
            raise ValueError(
                "vocab: it does not say which ids continue a word, so whole words are unknown; give it continuations, "
                "the ids of the pieces (## in BERT's vocabulary), or choose tokens one by one (flava.bert_tokens)"
            )
        self.vocab = vocab
        self.probability = probability
        self.mask_share = mask_share
        self.random_share = random_share
        self._continues = torch.zeros(vocab.size, dtype=torch.bool, device="cpu")
        self._continues[sorted(vocab.continuations)] = True

    def __call__(self, ids: Tensor, special: Tensor, generator: torch.Generator) -> MaskedText:
        """Mask ``ids`` (B, L) outside ``special`` (B, L) and the vocabulary's special tokens, on the device of ``ids``.

        ``generator`` is a CPU one, so that the device does not change what is drawn.
        """
        ordinary = maskable(ids, special, self.vocab)
        glued = self._continues.to(ids.device)[ids] & ordinary
        # (B, L): which word of its row a token belongs to; pieces after a special token share its, which is not chosen
        word = (~glued).cumsum(1) - 1 + glued[:, :1]
        lot = torch.rand(ids.shape, generator=generator, device="cpu").to(ids.device).gather(1, word)
        return corrupt(
            ids,
            ordinary & (lot < self.probability),
            vocab=self.vocab,
            mask_share=self.mask_share,
            random_share=self.random_share,
            generator=generator,
        )
