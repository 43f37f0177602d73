"""The emoji that come with the package: pictures with captions."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from ...inputs.pictures import open_picture
from .sample import Sample
from .shard import Shard
from .specs import EMOJI_GROUPS

SAMPLES = Path(__file__).parents[1] / "samples"
HELD_OUT = 205
"""So many concepts are held out, in Twemoji's drawing only."""


class Emoji:
    """1,026 concepts in two vendors' drawings, 64x64 with transparency: key, picture, caption with tags, and group.

    split: "train", 1,847 drawings; "held_out", the 205 Twemoji drawings whose Noto twins are in "train".
    tags: up to this many tags are drawn at random and put behind the caption, when a generator is given.
    """

    def __init__(self, *, split: Literal["train", "held_out"] = "train", tags: int = 3) -> None:
        self.tags = tags
        noto, twemoji = (Shard.scan(str(SAMPLES / f"emoji-{vendor}.tar")) for vendor in ("noto", "twemoji"))
        drawn = {stem: number for number, stem in enumerate(twemoji.index.stems)}
        concepts = sorted(drawn)
        random.Random(0).shuffle(concepts)
        held_out = concepts[:HELD_OUT]
        if split == "held_out":
            self._places = [(twemoji, drawn[stem]) for stem in held_out]
        else:
            kept = set(drawn).difference(held_out)
            self._places = [(noto, number) for number in range(len(noto.index))]
            self._places += [(twemoji, number) for stem, number in drawn.items() if stem in kept]
        self._records: list[dict[str, Any]] = [json.loads(self._member(index, "json")) for index in range(len(self))]
        self._pictures: dict[int, NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def sample(self, index: int, generator: Generator | None = None) -> Sample:
        """Key ``vendor/codepoints``, picture (64, 64, 4) and caption; with a generator, the caption and random tags."""
        shard, number = self._places[index]
        record = self._records[index]
        return Sample(
            key=f"{record['vendor']}/{shard.index.stems[number]}",
            image=self._picture(index),
            text=self._text(record, generator),
            labels=(EMOJI_GROUPS.index(record["group"]),),
        )

    def text_length(self, index: int, generator: Generator | None = None) -> int:
        """How many characters the text of `sample` has."""
        return len(self._text(self._records[index], generator))

    def _text(self, record: dict[str, Any], generator: Generator | None) -> str:
        words = [record["caption"]]
        if generator is not None and self.tags:
            tags = record["tags"]
            count = int(torch.randint(min(self.tags, len(tags)) + 1, (), generator=generator))
            words += [tags[i] for i in torch.randperm(len(tags), generator=generator)[:count].tolist()]
        return ", ".join(words)

    def _picture(self, index: int) -> NDArray[np.uint8]:
        picture = self._pictures.get(index)
        if picture is None:
            picture = np.array(open_picture(self._member(index, "webp")).convert("RGBA"))
            picture.flags.writeable = False  # it is handed out again and again
            self._pictures[index] = picture
        return picture

    def _member(self, index: int, suffix: str) -> bytes:
        shard, number = self._places[index]
        return shard.read({suffix: shard.index.members(number)[suffix]})[suffix]
