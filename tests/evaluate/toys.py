"""A source of one-coloured pictures, and a model that maps colours and numbers to places on a circle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from flava_parts.data.sources.sample import Sample
from flava_parts.layers.output import EncoderOutput
from flava_parts.output import Encoded


class Pairs:
    """Pairs of a one-coloured picture and a caption; None leaves a side out."""

    def __init__(self, pairs: Sequence[tuple[int | None, str | None]], size: tuple[int, int, int] = (4, 6, 3)) -> None:
        self.pairs = pairs
        self.size = size

    def __len__(self) -> int:
        return len(self.pairs)

    def sample(self, index: int, generator: torch.Generator | None = None) -> Sample:
        assert generator is None
        colour, text = self.pairs[index]
        return Sample(str(index), None if colour is None else np.full(self.size, colour, dtype=np.uint8), text)


class Coloured:
    """One-coloured pictures, each with its labels."""

    def __init__(self, pictures: Sequence[tuple[int, tuple[int, ...]]]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def sample(self, index: int, generator: torch.Generator | None = None) -> Sample:
        assert generator is None
        colour, labels = self.pictures[index]
        return Sample(str(index), np.full((4, 6, 3), colour, dtype=np.uint8), labels=labels)


def processor(
    images: Sequence[np.ndarray | Path] | None = None, text: Sequence[str] | None = None, padding: bool = True
) -> dict[str, Tensor]:
    """The colour of each picture, which is also the name of its file, and the number at the end of each text."""
    assert padding
    if images is not None:
        colours = [int(image.name) if isinstance(image, Path) else int(image.flat[0]) for image in images]
        return {"pixel_values": torch.tensor(colours)[:, None].float()}
    assert text is not None
    ids = torch.tensor([[int(words.rsplit(maxsplit=1)[-1])] for words in text])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}


class Toy(nn.Module):
    """A model that maps numbers to places on a circle, if it is not in training, and keeps one frozen part."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Dropout().eval()
        self.free = nn.Dropout(0.5)
        self.weight = nn.Parameter(torch.zeros(()))
        self.batches: list[int] = []

    def embed_image(self, pixel_values: Tensor) -> Tensor:
        assert torch.is_inference_mode_enabled()
        self.batches.append(len(pixel_values))
        angle = self.free(pixel_values) / 100
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    def embed_text(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        assert attention_mask.all()
        assert not token_type_ids.any()
        return self.embed_image(input_ids.float())

    def encode(self, *, pixel_values: Tensor, fuse: bool) -> Encoded:
        assert not fuse
        states = self.embed_image(pixel_values)[:, None]
        return Encoded(image=EncoderOutput(states, states))
