"""Randomness by name: the same key gives the same numbers, whatever was drawn before."""

from __future__ import annotations

from hashlib import blake2b

from torch import Generator


def keyed_generator(*key: str | int) -> Generator:
    """A fresh CPU generator seeded by all parts of the key, such as ``(seed, "order", epoch)``."""
    digest = blake2b(repr(key).encode(), digest_size=8).digest()
    return Generator().manual_seed(int.from_bytes(digest, "big"))
