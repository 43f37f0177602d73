"""The order in which a source's samples come: epoch after epoch, each sample once in an epoch."""

from __future__ import annotations

import torch

from ..errors import InputError
from .keyed import keyed_generator


class Order:
    """Batches of indices below ``size``; each epoch is a fresh permutation, its incomplete last batch left out.

    The permutation of an epoch follows from key and epoch alone, so any batch can be asked for without those before it.
    """

    def __init__(self, *, size: int, batch_size: int, key: tuple[str | int, ...]) -> None:
        if batch_size > size:
            raise InputError(f"{size} samples make no batch of {batch_size}; make batch_size at most {size}")
        self.size = size
        self.batch_size = batch_size
        self.batches_per_epoch = size // batch_size
        self._key = key
        self._epoch: tuple[int, list[int]] | None = None

    def batch(self, number: int) -> list[int]:
        """The indices of batch ``number``, counted from 0 through all epochs."""
        epoch, position = divmod(number, self.batches_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            generator = keyed_generator(*self._key, "epoch", epoch)
            self._epoch = (epoch, torch.randperm(self.size, generator=generator).tolist())
        return self._epoch[1][position * self.batch_size : (position + 1) * self.batch_size]
