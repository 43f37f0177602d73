"""Sources that tests make up: pictures and texts by number, some of them bad."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
from torch import Generator

from flava_parts.data.sources.bad_sample import BadSampleError
from flava_parts.data.sources.sample import Sample
from flava_parts.data.sources.specs import SourceSpec
from flava_parts.facts import Modality

REASONS = ("truncated", "zero-bytes", "bad-utf-8")


class MadeUp:
    """Pictures of 8x8 and texts of 1 to 9 words, both telling their number; ``bad_every``-th ones are bad.

    fatal: the sample at which the reader's process is killed, or sleeps for good.
    """

    def __init__(self, *, size: int, bad_every: int, fatal: int | None, how: str, name: str) -> None:
        self.size = size
        self.bad_every = bad_every
        self.fatal = fatal
        self.how = how
        self.name = name

    def __len__(self) -> int:
        return self.size

    def is_bad(self, index: int) -> bool:
        return bool(self.bad_every) and index % self.bad_every == 1

    def place(self, index: int) -> str:
        return f"{self.name}-{index // 100}.tar: {index % 100:06d}"

    def sample(self, index: int, generator: Generator | None = None) -> Sample:
        if index == self.fatal and self.how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if index == self.fatal and self.how == "hang":
            time.sleep(3600)
        if self.is_bad(index):
            reason = REASONS[index % 3]
            raise BadSampleError(f"{self.name}: {index} is {reason}", source=self.name, key=str(index), reason=reason)
        picture = np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        return Sample(key=str(index), image=picture, text=self._text(index, generator))

    def text_length(self, index: int, generator: Generator | None = None) -> int:
        return 0 if self.is_bad(index) else len(self._text(index, generator))

    def _text(self, index: int, generator: Generator | None) -> str:
        drawn = 0 if generator is None else int(torch.randint(1000, (), generator=generator))
        return f"{index} {drawn}" + " word" * (index % 8)


class MadeUpSpec(SourceSpec):
    """Made up for tests."""

    type: Literal["tests.made_up"] = "tests.made_up"
    size: int = 300
    bad_every: int = 0
    fatal: int | None = None
    how: str = "die"
    name: str = "made-up"

    @property
    def provides(self) -> frozenset[Modality]:
        return frozenset({"image", "text"})

    def build(self) -> MadeUp:
        return MadeUp(**self.arguments())


def bad_numbers(spec: MadeUpSpec) -> Iterable[int]:
    """The samples that are bad."""
    source = spec.build()
    return (index for index in range(spec.size) if source.is_bad(index))
