"""BERT's WordPiece tokenizer: texts to ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from tokenizers import Encoding, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from ..errors import InputError
from .vocabulary import CONTINUATION, MASK, PAD, SEPARATOR, SUMMARY, UNKNOWN, read_vocabulary, vocab_of

Padding = bool | Literal["longest", "max_length"]
"""True or "longest": to the longest text of the batch; "max_length": to the longest allowed; False: not at all."""


class TokenBatch(NamedTuple):
    """Texts as ids: four tensors (B, L) int64, named as in transformers."""

    input_ids: Tensor
    attention_mask: Tensor
    """1 for tokens, 0 for padding."""
    token_type_ids: Tensor
    """All 0: each text is one segment."""
    special_tokens_mask: Tensor
    """1 for summary, separator and padding, 0 for the text's own tokens."""


class WordPiece:
    """Texts to ids and back, equal to transformers' BertTokenizer over the same vocabulary.

    vocabulary: a vocab.txt, one token a line; bert-base-uncased's if not given.
    lowercase: whether case and accents are dropped.
    length: the longest text in tokens, summary and separator included; longer ones are cut.
    """

    def __init__(self, *, vocabulary: str | None = None, lowercase: bool = True, length: int = 77) -> None:
        tokens = read_vocabulary(vocabulary)
        self.vocab = vocab_of(tokens)
        self.length = length
        ids = {token: id for id, token in enumerate(tokens)}
        self._tokenizer = Tokenizer(models.WordPiece(ids, unk_token=UNKNOWN, continuing_subword_prefix=CONTINUATION))
        self._tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        self._tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self._tokenizer.decoder = decoders.WordPiece(prefix=CONTINUATION)
        self._tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{SUMMARY} $A {SEPARATOR}", special_tokens=[(token, ids[token]) for token in (SUMMARY, SEPARATOR)]
        )
        # So that "[MASK]" written in a text is one token, as in transformers.
        self._tokenizer.add_special_tokens([PAD, UNKNOWN, SUMMARY, SEPARATOR, MASK])

    def __call__(
        self, texts: Sequence[str], *, padding: Padding = True, truncation: bool = True, max_length: int | None = None
    ) -> TokenBatch:
        """The ids of B texts, cut to ``max_length`` tokens (the tokenizer's length if not given) and padded.

        Raises `InputError` for what is not a list of texts, for a ``max_length`` that does not fit, for a text that is
        too long when it is not to be cut, and for texts of different lengths when they are not to be padded.
        """
        limit = self.length if max_length is None else max_length
        if not 2 <= limit <= self.length:
            raise InputError(f"max_length {limit} is not between 2 and {self.length}, the tokenizer's length")
        if truncation:
            self._tokenizer.enable_truncation(limit)
        else:
            self._tokenizer.no_truncation()
        if padding:
            fixed = limit if padding == "max_length" else None
            self._tokenizer.enable_padding(pad_id=self.vocab.pad, pad_token=PAD, length=fixed)
        else:
            self._tokenizer.no_padding()
        encodings = self._encode(texts)
        lengths = [len(encoding) for encoding in encodings]
        longest = max(lengths, default=0)
        if longest > limit:
            raise InputError(f"a text has {longest} tokens, more than {limit}; leave truncation on")
        if lengths and min(lengths) != longest:
            raise InputError(f"texts of {min(lengths)} to {longest} tokens make no tensor; leave padding on")

        def tensor(rows: list[list[int]]) -> Tensor:
            return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), longest)

        return TokenBatch(
            input_ids=tensor([encoding.ids for encoding in encodings]),
            attention_mask=tensor([encoding.attention_mask for encoding in encodings]),
            token_type_ids=tensor([encoding.type_ids for encoding in encodings]),
            special_tokens_mask=tensor([encoding.special_tokens_mask for encoding in encodings]),
        )

    def decode(self, ids: Sequence[int] | Tensor, *, skip_special_tokens: bool = True) -> str:
        """The text of one row of ids (L): pieces joined, special tokens left out."""
        row = [int(id) for id in ids]
        if row and not 0 <= min(row) <= max(row) < self.vocab.size:
            raise InputError(f"ids {min(row)} to {max(row)} are not all in the vocabulary of {self.vocab.size}")
        return self._tokenizer.decode(row, skip_special_tokens=skip_special_tokens)

    def _encode(self, texts: Sequence[str]) -> list[Encoding]:
        if isinstance(texts, str):
            raise InputError("one text was given where a list of texts is wanted; put it into a list")
        try:
            return self._tokenizer.encode_batch(list(texts))
        except TypeError as error:
            raise InputError("texts are strings of whole characters; look for None or a lone surrogate") from error
        except BaseException as error:
            # A panic of the library derives from BaseException, so nobody who catches errors would catch it.
            if type(error).__name__ == "PanicException":
                raise InputError(f"the tokenizer could not read these texts ({error})") from error
            raise
