"""BERT's WordPiece tokenizer: texts to ids."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from tokenizers import AddedToken, Encoding, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from ..errors import InputError
from .settings import TextSettings, TokenizerSettings, changed
from .vocabulary import CONTINUATION, read_vocabulary, vocab_of

Padding = bool | Literal["longest", "max_length", "do_not_pad"]
"""True or "longest": to the longest text of the batch; "max_length": to the longest allowed; False: not at all."""

FRAME = 2
"""Tokens around a text: summary and separator."""

TIGHTER = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
"""What loses its spaces, in the order in which it does."""


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
        settings = TokenizerSettings(do_lower_case=lowercase, model_max_length=length)
        self._assemble(read_vocabulary(vocabulary), settings, ())

    @classmethod
    def of(cls, tokens: tuple[str, ...], settings: TokenizerSettings, added: Sequence[AddedToken] = ()) -> WordPiece:
        """The tokenizer of these tokens, in the order of their ids.

        added: tokens that are matched in texts before these are cut into words; those that are not among ``tokens``
            get the ids that follow. Raises `InputError` if the tokenizers library does not take them.
        """
        made = cls.__new__(cls)
        made._assemble(tokens, settings, added)
        return made

    def _assemble(self, tokens: tuple[str, ...], settings: TokenizerSettings, added: Sequence[AddedToken]) -> None:
        ids = {token: id for id, token in enumerate(tokens)}
        summary, separator = settings.cls_token, settings.sep_token
        with guarded("the tokenizer could not be made of these tokens"):
            core = Tokenizer(
                models.WordPiece(ids, unk_token=settings.unk_token, continuing_subword_prefix=CONTINUATION)
            )
            core.normalizer = normalizers.BertNormalizer(
                lowercase=settings.do_lower_case,
                strip_accents=settings.strip_accents,
                handle_chinese_chars=settings.tokenize_chinese_chars,
            )
            core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
            core.decoder = decoders.WordPiece(prefix=CONTINUATION)
            core.post_processor = processors.BertProcessing((separator, ids[separator]), (summary, ids[summary]))
            # So that "[MASK]" written in a text is one token, as in transformers.
            core.add_special_tokens([token for token in settings.special if token not in map(str, added)])
            for token in added:
                (core.add_special_tokens if token.special else core.add_tokens)([token])
        self.tokens = (*tokens, *(str(token) for token in added if str(token) not in ids))
        self.base = len(tokens)
        """How many tokens texts are cut into; those behind are matched whole."""
        self.settings = settings
        self.vocab = vocab_of(self.tokens, settings.special)
        self.length = settings.model_max_length
        self.core = core
        """The tokenizers library's object. Each call sets its padding and truncation anew."""

    def __call__(
        self, texts: Sequence[str], *, padding: Padding = True, truncation: bool = True, max_length: int | None = None
    ) -> TokenBatch:
        """The ids of B texts, cut to ``max_length`` tokens (the tokenizer's length if not given) and padded.

        Raises `InputError` for what is not a list of texts, for a ``max_length`` that does not fit, for a text that is
        too long when it is not to be cut, and for texts of different lengths when they are not to be padded.
        """
        settings = changed(TextSettings(), {"padding": padding, "truncation": truncation, "max_length": max_length})
        rows = self.encode(texts, settings)
        return TokenBatch(**{name: token_tensor(rows[name]) for name in TokenBatch._fields})

    def encode(self, texts: Sequence[str], settings: TextSettings) -> dict[str, list[Any]]:
        """What transformers' tokenizer returns for B texts, as lists, a row a text; more rows if overflow is asked for.

        input_ids, token_type_ids, attention_mask, special_tokens_mask, and what is asked for of offset_mapping, length
        and overflow_to_sample_mapping. Raises `InputError` as calling does, but rows may differ in length.
        """
        limit = self._limited(settings)
        if settings.pads:
            self.core.enable_padding(
                direction=settings.padding_side or self.settings.padding_side,
                pad_id=self.vocab.pad,
                pad_token=self.settings.pad_token,
                length=limit if settings.padding == "max_length" else None,
                pad_to_multiple_of=settings.pad_to_multiple_of,
            )
        else:
            self.core.no_padding()
        encodings = self._encodings(texts, settings)
        owners = list(range(len(encodings)))
        if settings.return_overflowing_tokens:
            parts = [[encoding, *encoding.overflowing] for encoding in encodings]
            owners = [owner for owner, rows in enumerate(parts) for _ in rows]
            encodings = [encoding for rows in parts for encoding in rows]
        longest = max(map(len, encodings), default=0)
        if longest > self.length:
            raise InputError(f"a text has {longest} tokens, more than {self.length}; leave truncation on")
        rows: dict[str, list[Any]] = {
            "input_ids": [encoding.ids for encoding in encodings],
            "token_type_ids": [encoding.type_ids for encoding in encodings],
            "attention_mask": [encoding.attention_mask for encoding in encodings],
            "special_tokens_mask": [encoding.special_tokens_mask for encoding in encodings],
        }
        if settings.return_offsets_mapping:
            rows["offset_mapping"] = [encoding.offsets for encoding in encodings]
        if settings.return_length:
            rows["length"] = list(map(len, encodings))
        if settings.return_overflowing_tokens:
            rows["overflow_to_sample_mapping"] = owners
        return rows

    def decode(self, ids: int | Sequence[int] | Tensor, *, skip_special_tokens: bool = True) -> str:
        """The text of one row of ids (L): pieces joined, special tokens left out."""
        row = [int(id) for id in ([ids] if isinstance(ids, int) else ids)]
        if row and not 0 <= min(row) <= max(row) < self.vocab.size:
            raise InputError(f"ids {min(row)} to {max(row)} are not all in the vocabulary of {self.vocab.size}")
        text = self.core.decode(row, skip_special_tokens=skip_special_tokens)
        if self.settings.clean_up_tokenization_spaces:
            for spaced in TIGHTER:
                text = text.replace(spaced, spaced.strip())
        return text

    def _limited(self, settings: TextSettings) -> int:
        """Set truncation; the longest a text may be in tokens."""
        limit = self.length if settings.max_length is None else settings.max_length
        frame = FRAME if settings.add_special_tokens else 0
        if not max(frame, 1) <= limit <= self.length:
            raise InputError(
                f"max_length {limit} is not between {max(frame, 1)} and {self.length}, the tokenizer's length"
            )
        multiple = settings.pad_to_multiple_of
        if settings.pads and settings.cuts and multiple is not None and limit % multiple:
            raise InputError(f"max_length {limit} is no multiple of pad_to_multiple_of {multiple}; give one that is")
        if not settings.cuts:
            self.core.no_truncation()
            return limit
        # The library reckons with the tokens around a text here even where they are not asked for.
        if settings.stride and settings.stride >= limit - FRAME:
            raise InputError(f"stride {settings.stride} leaves nothing of {limit - FRAME} tokens; give less")
        with guarded(f"texts cannot be cut to {limit} tokens"):
            self.core.enable_truncation(limit, stride=settings.stride, direction=self.settings.truncation_side)
        return limit

    def _encodings(self, texts: Sequence[str], settings: TextSettings) -> list[Encoding]:
        if isinstance(texts, str):
            raise InputError("one text was given where a list of texts is wanted; put it into a list")
        with guarded("the tokenizer could not read these texts"):
            try:
                return self.core.encode_batch(list(texts), add_special_tokens=settings.add_special_tokens)
            except TypeError as error:
                raise InputError("texts are strings of whole characters; look for None or a lone surrogate") from error


def token_tensor(rows: Sequence[Sequence[Any]]) -> Tensor:
    """B rows of one length as int64 (B, L, …). Raises `InputError` for rows of different lengths."""
    lengths = set(map(len, rows))
    if len(lengths) > 1:
        raise InputError(f"texts of {min(lengths)} to {max(lengths)} tokens make no tensor; leave padding on")
    return torch.tensor(rows, dtype=torch.int64) if rows else torch.empty(0, 0, dtype=torch.int64)


@contextmanager
def guarded(what: str) -> Generator[None, None, None]:
    """Whatever the tokenizers library raises, its panics included, as an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except BaseException as error:
        # A panic of the library derives from BaseException, so nobody who catches errors would catch it.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise InputError(f"{what} ({str(error).partition(chr(10))[0]})") from error
        raise
