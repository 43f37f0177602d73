"""Zero-shot retrieval: each picture looks for its caption, and each caption for its picture."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn

from ..errors import InputError
from ..inputs.pictures import rgb

if TYPE_CHECKING:
    from ..data.source import Source
    from ..inputs.processor import Processor
    from ..model import FlavaForPreTraining

TOPS = (1, 5, 10)
"""A query counts as answered at k if something right is among its k best."""

RANKED = 5
"""So many captions are kept for each picture."""

PICTURES, PICTURE_SIDE = 64, 128
"""So many pictures are kept to look at, of this side in pixels."""

CHUNK = 1024
"""Queries compared at once: memory is ``CHUNK x N`` scores, never N x N."""


@dataclass(frozen=True, slots=True)
class RetrievalResult:
    """What a retrieval among N pairs found."""

    record: dict[str, float]
    """Shares from 0 to 1: ``image_to_text/top1``, ``text_to_image/top5``, ..."""
    captions: list[str]
    """The N captions; picture i belongs to caption i."""
    ranked: NDArray[np.int64]
    """(N, k) for each picture the k nearest of the captions, the nearest first; each wording once."""
    pictures: NDArray[np.uint8]
    """(n, 128, 128, 3) the first n <= 64 pictures, over white, to look at."""


class Retrieval:
    """Retrieval among all pairs of a source, by the embeddings in the shared space (FLAVA section 4.2).

    source: pairs of a picture and a text. batch_size: pairs embedded at once.
    """

    def __init__(self, *, source: Source, batch_size: int = 256) -> None:
        self.source = source
        self.batch_size = batch_size

    def __call__(self, model: FlavaForPreTraining, processor: Processor) -> RetrievalResult:
        """Embed all pairs without augmentation and dropout, and see how high what belongs together ranks.

        Pictures whose captions are equal share them: each is right for all of them. Draws no random numbers and leaves
        the model as it was. Raises `InputError` if the source is empty or a sample lacks picture or text, and
        ValueError if the model has no contrastive loss.
        """
        if not len(self.source):
            raise InputError("retrieval needs at least one pair, but its source is empty")
        device = next(model.parameters()).device
        captions: list[str] = []
        pictures: list[NDArray[np.uint8]] = []
        images: list[Tensor] = []
        texts: list[Tensor] = []
        with _evaluating(model), torch.inference_mode():
            for start in range(0, len(self.source), self.batch_size):
                pairs = self._pairs(range(start, min(start + self.batch_size, len(self.source))))
                batch: dict[str, Any] = processor(
                    images=[image for image, _ in pairs], text=[text for _, text in pairs], padding=True
                )
                batch = {name: tensor.to(device) for name, tensor in batch.items()}
                images.append(model.embed_image(batch["pixel_values"]).float())
                texts.append(
                    model.embed_text(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"]).float()
                )
                captions += [text for _, text in pairs]
                pictures += [_thumbnail(image) for image, _ in pairs[: PICTURES - len(pictures)]]
            image, text, groups = torch.cat(images), torch.cat(texts), _groups(captions).to(device)
            found = {"image_to_text": ranks(image, text, groups), "text_to_image": ranks(text, image, groups)}
            return RetrievalResult(
                record={f"{way}/top{k}": float((of <= k).double().mean()) for way, of in found.items() for k in TOPS},
                captions=captions,
                ranked=_nearest(image, text, groups).cpu().numpy(),
                pictures=np.stack(pictures),
            )

    def _pairs(self, indices: Sequence[int]) -> list[tuple[NDArray[np.uint8], str]]:
        pairs: list[tuple[NDArray[np.uint8], str]] = []
        for sample in map(self.source.sample, indices):
            if sample.image is None or sample.text is None:
                lacking = "picture" if sample.image is None else "text"
                raise InputError(f"{sample.key}: retrieval needs pairs, but this sample has no {lacking}")
            pairs.append((sample.image, sample.text))
        return pairs


def ranks(queries: Tensor, keys: Tensor, groups: Tensor) -> Tensor:
    """The rank (N,) int64, counted from 1, at which each query (N, D) finds the first right key (N, D).

    Key j is right for query i if both are of one group (N,). Ties go to the wrong keys, and so does what is not a
    number: a model that maps everything to one point finds nothing.
    """
    found: list[Tensor] = []
    for start in range(0, len(queries), CHUNK):
        scores = queries[start : start + CHUNK] @ keys.T
        right = groups[start : start + CHUNK, None] == groups
        best = scores.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
        found.append(1 + (~(scores < best) & ~right).sum(dim=1))
    return torch.cat(found) if found else groups.new_zeros(0, dtype=torch.int64)


def _nearest(queries: Tensor, keys: Tensor, groups: Tensor) -> Tensor:
    """The `RANKED` best keys of each query (N, k): indices, one of each group; of equal ones the earliest first."""
    firsts = (groups == torch.arange(len(groups), device=groups.device)).nonzero().flatten()
    found: list[Tensor] = []
    for start in range(0, len(queries), CHUNK):
        scores = queries[start : start + CHUNK] @ keys[firsts].T
        found.append(firsts[torch.sort(scores, dim=1, descending=True, stable=True).indices[:, :RANKED]])
    return torch.cat(found)


def _groups(captions: list[str]) -> Tensor:
    """For each caption the index of the first that is equal (N,)."""
    first: dict[str, int] = {}
    return torch.tensor([first.setdefault(caption, index) for index, caption in enumerate(captions)])


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(
        ImageOps.pad(rgb(image, 255), (PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS, color="white")
    )


@contextmanager
def _evaluating(model: nn.Module) -> Generator[None]:
    """Evaluation mode inside; outside, every module is in the mode it was in before."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
