"""A vocabulary file: one token a line, a token's id its line number counted from 0."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ..errors import InputError
from ..facts import Vocab

SHIPPED = Path(__file__).with_name("bert-base-uncased-vocab.txt")
"""bert-base-uncased's 30,522 tokens."""

SPECIAL = PAD, UNKNOWN, SUMMARY, SEPARATOR, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
"""The special tokens, as BERT's vocabularies write them."""

CONTINUATION = "##"
"""The mark of a piece that is glued to the one before."""


def read_vocabulary(path: str | None, special: Sequence[str] = SPECIAL) -> tuple[str, ...]:
    """The tokens of a vocab.txt in the order of their ids; the shipped one (read once) if no path is given.

    Raises `InputError` if the file cannot be read, is not UTF-8, lacks a special token or has a token twice.
    """
    return _shipped() if path is None else _read(Path(path), special)


@cache
def _shipped() -> tuple[str, ...]:
    return _read(SHIPPED, SPECIAL)


def _read(path: Path, special: Sequence[str]) -> tuple[str, ...]:
    try:
        # Lines end as text files' lines do; `splitlines` would also cut at characters that are tokens themselves.
        lines = path.read_bytes().decode("utf-8").replace("\r\n", "\n").removesuffix("\n").split("\n")
    except OSError as error:
        raise InputError(f"{path}: no vocabulary could be read ({error.strerror}); give a vocab.txt") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8; save the vocabulary as UTF-8") from error
    if missing := [token for token in special if token not in lines]:
        raise InputError(f"{path}: the vocabulary has no {', '.join(missing)}; give a BERT vocab.txt, one token a line")
    if len(set(lines)) != len(lines):
        seen: set[str] = set()
        line, token = next((n, t) for n, t in enumerate(lines, 1) if t in seen or seen.add(t))
        raise InputError(f"{path}:{line}: the token {token!r} stands on an earlier line too; a token has one id")
    return tuple(lines)


def vocab_of(tokens: tuple[str, ...], special: Sequence[str] = SPECIAL) -> Vocab:
    """The facts of a vocabulary: its size, special ids, and the ids that continue a word."""
    pad, unknown, summary, separator, mask = map(tokens.index, special)
    return Vocab(
        size=len(tokens),
        pad=pad,
        unknown=unknown,
        summary=summary,
        separator=separator,
        mask=mask,
        continuations=frozenset(id for id, token in enumerate(tokens) if token.startswith(CONTINUATION)),
    )
