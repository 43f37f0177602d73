"""Zero-shot retrieval: each picture looks for its captions, and each caption for its picture."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import InputError
from ..inputs.pictures import rgb
from .embedding import picture_vectors, pixels_of, text_vectors
from .evaluation import Watch, unwatched
from .mode import evaluating

if TYPE_CHECKING:
    from ..data.sources.source import Source
    from ..inputs.processor import Processor
    from ..model import FlavaForPreTraining
    from .captions import Captioned

TOPS = (1, 5, 10)
"""A query counts as answered at k if something right is among its k best."""

RANKED = 5
"""So many captions are kept for each picture that is kept."""

PICTURES, PICTURE_SIDE = 64, 128
"""So many pictures are kept to look at, of this side in pixels."""

SCORES = 2**22
"""So many scores are held at once, whatever the numbers of queries and keys: 16 MiB. At 32 MiB malloc maps them anew
each time, or leaves holes of their size: it took up to three times as long, and 0.3 GiB."""


@dataclass(frozen=True, slots=True)
class RetrievalResult:
    """What a retrieval among N pairs found."""

    record: dict[str, float]
    """Shares from 0 to 1: ``image_to_text/top1``, ``text_to_image/top5``, ..."""
    captions: list[str]
    """The N captions; picture i belongs to caption i."""
    ranked: NDArray[np.int64]
    """(n, k) for each picture that is kept the k nearest of the captions, the nearest first; each wording once."""
    pictures: NDArray[np.uint8]
    """(n, 128, 128, 3) the first n <= 64 pictures, over white, to look at."""


class Retrieval:
    """Retrieval among all pairs of a source, by the embeddings in the shared space (FLAVA section 4.2).

    source: pairs of a picture and a text. batch_size: pictures, or texts, embedded at once.
    """

    def __init__(self, *, source: Source, batch_size: int = 256) -> None:
        self.source = source
        self.batch_size = batch_size

    def __call__(
        self, model: FlavaForPreTraining, processor: Processor, *, watch: Watch = unwatched
    ) -> RetrievalResult:
        """Embed all pairs without augmentation and dropout, and see how high what belongs together ranks.

        Pictures whose captions are equal share them: each is right for all of them. Draws no random numbers and leaves
        the model as it was. Raises `InputError` if the source is empty or a sample lacks picture or text, and
        ValueError if the model has no contrastive loss.
        """
        if not len(self.source):
            raise InputError("retrieval needs at least one pair, but its source is empty")
        device = next(model.parameters()).device
        captions: list[str] = []
        kept: list[NDArray[np.uint8]] = []

        def pictures() -> Iterator[NDArray[np.uint8]]:
            for sample in map(self.source.sample, range(len(self.source))):
                if sample.image is None or sample.text is None:
                    lacking = "picture" if sample.image is None else "text"
                    raise InputError(f"{sample.key}: retrieval needs pairs, but this sample has no {lacking}")
                captions.append(sample.text)
                if len(kept) < PICTURES:
                    kept.append(_thumbnail(sample.image))
                yield sample.image

        with evaluating(model), torch.inference_mode():
            image = picture_vectors(
                model.embed_image,
                pixels_of(processor, pictures()),
                total=len(self.source),
                device=device,
                batch_size=self.batch_size,
                watch=watch,
            )
            text = text_vectors(model, processor, captions, device=device, batch_size=self.batch_size, watch=watch)
            groups = groups_of([[caption] for caption in captions]).to(device)
            return RetrievalResult(
                record=recall(image, text, groups, groups),
                captions=captions,
                ranked=_nearest(image[: len(kept)], text, groups).cpu().numpy(),
                pictures=np.stack(kept),
            )


@dataclass(frozen=True, slots=True)
class CaptionRetrievalResult:
    """What a retrieval among pictures with several captions each found: shares, named as in `RetrievalResult`."""

    record: dict[str, float]


class CaptionRetrieval:
    """Retrieval among N pictures and all their captions (FLAVA section 4.2; COCO has five for each).

    captioned: pictures with their captions. batch_size: pictures, or captions, embedded at once.
    """

    def __init__(self, *, captioned: Sequence[Captioned], batch_size: int = 256) -> None:
        self.captioned = captioned
        self.batch_size = batch_size

    def __call__(
        self, model: FlavaForPreTraining, processor: Processor, *, watch: Watch = unwatched
    ) -> CaptionRetrievalResult:
        """Embed pictures and captions; a picture is answered by any of its captions, a caption by its picture.

        Pictures with the same captions share them. Draws no random numbers and leaves the model as it was. Raises
        `InputError` if a picture cannot be read, and ValueError if the model has no contrastive loss.
        """
        device = next(model.parameters()).device
        groups = groups_of([each.captions for each in self.captioned]).to(device)
        counts = torch.tensor([len(each.captions) for each in self.captioned], device=device)
        captions = [caption for each in self.captioned for caption in each.captions]
        with evaluating(model), torch.inference_mode():
            image = picture_vectors(
                model.embed_image,
                pixels_of(processor, (each.picture for each in self.captioned)),
                total=len(self.captioned),
                device=device,
                batch_size=self.batch_size,
                watch=watch,
            )
            text = text_vectors(
                model, processor, captions, device=device, batch_size=self.batch_size, watch=watch, what="captions"
            )
            return CaptionRetrievalResult(record=recall(image, text, groups, groups.repeat_interleave(counts)))


def recall(image: Tensor, text: Tensor, image_groups: Tensor, text_groups: Tensor) -> dict[str, float]:
    """Recall at 1, 5 and 10, both ways, among vectors of images (N, D) and texts (M, D): ``image_to_text/top1``, ...

    Image i and text j belong together if ``image_groups`` (N,) and ``text_groups`` (M,) say the same of them. Memory
    beyond the vectors does not grow with N x M.
    """
    found = {
        "image_to_text": ranks(image, text, image_groups, text_groups),
        "text_to_image": ranks(text, image, text_groups, image_groups),
    }
    return {f"{way}/top{k}": float((of <= k).double().mean()) for way, of in found.items() for k in TOPS}


def ranks(queries: Tensor, keys: Tensor, query_groups: Tensor, key_groups: Tensor) -> Tensor:
    """The rank (Q,) int64, counted from 1, at which each query (Q, D) finds the first right key (K, D).

    Key j is right for query i if both are of one group, (Q,) and (K,). Ties go to the wrong keys, and so does what is
    not a number: a model that maps everything to one point finds nothing, and so does a query without a right key.
    """
    # Written into one tensor: small ones, kept between the large ones of each chunk, would keep the heap from reuse.
    found = key_groups.new_empty(len(queries), dtype=torch.int64)
    for rows in _chunks(queries, keys):
        found[rows] = _ranks(queries[rows] @ keys.T, query_groups[rows, None] == key_groups)
    return found


def _ranks(scores: Tensor, right: Tensor) -> Tensor:
    """The ranks (Q,) of a chunk, of scores (Q, K) and of which keys are right (Q, K).

    A function of its own, so that nothing of one chunk is there while the next is computed.
    """
    best = torch.where(right, scores, -torch.inf).amax(dim=1, keepdim=True)
    behind = (scores < best).logical_or_(right).view(torch.uint8)  # bytes are added twice as fast as truth values
    return 1 + scores.shape[1] - behind.sum(dim=1, dtype=torch.int32)


def groups_of(captions: Sequence[Collection[str]]) -> Tensor:
    """For each picture's captions the index of the first picture that has the same ones (N,)."""
    first: dict[frozenset[str], int] = {}
    return torch.tensor(
        [first.setdefault(frozenset(each), index) for index, each in enumerate(captions)], dtype=torch.int64
    )


def _nearest(queries: Tensor, keys: Tensor, groups: Tensor) -> Tensor:
    """The `RANKED` best keys of each query (Q, k): indices, one of each group; of equal ones the earliest first."""
    firsts = (groups == torch.arange(len(groups), device=groups.device)).nonzero().flatten()
    found = [
        torch.sort(queries[rows] @ keys[firsts].T, dim=1, descending=True, stable=True).indices[:, :RANKED]
        for rows in _chunks(queries, firsts)
    ]
    return firsts[torch.cat(found)]


def _chunks(queries: Tensor, keys: Tensor) -> Iterator[slice]:
    """Rows of queries whose scores against all keys are held at once."""
    size = max(1, SCORES // max(1, len(keys)))
    for start in range(0, len(queries), size):
        yield slice(start, start + size)


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(
        ImageOps.pad(rgb(image, 255), (PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS, color="white")
    )
