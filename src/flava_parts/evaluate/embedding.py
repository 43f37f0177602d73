"""Many pictures and many texts to vectors, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import InputError
from .evaluation import Watch, unwatched

if TYPE_CHECKING:
    from ..inputs.pictures import Picture
    from ..inputs.processor import Processor
    from ..model import FlavaForPreTraining


def pixels_of(processor: Processor, pictures: Iterable[Picture]) -> Iterator[Tensor]:
    """Each picture as pixels (1, C, H, W), when it is asked for: one is decoded at a time, whatever its size."""
    for picture in pictures:
        yield processor(images=[picture])["pixel_values"]


def picture_vectors(
    embed: Callable[[Tensor], Tensor],
    pixels: Iterable[Tensor],
    *,
    total: int,
    device: torch.device,
    batch_size: int,
    watch: Watch = unwatched,
    what: str = "pictures",
) -> Tensor:
    """N pictures of (1, C, H, W) to (N, D) float32 on ``device``; ``embed`` takes pixels (B, C, H, W) to (B, D).

    ``total`` is the most that there can be; ``watch`` hears of it. Raises `InputError` if there is none.
    """
    pixels = iter(pixels)
    batches = iter(lambda: list(islice(pixels, batch_size)), [])
    return _gathered((embed(torch.cat(batch).to(device)) for batch in batches), total=total, watch=watch, what=what)


def text_vectors(
    model: FlavaForPreTraining,
    processor: Processor,
    texts: Sequence[str],
    *,
    device: torch.device,
    batch_size: int,
    watch: Watch = unwatched,
    what: str = "texts",
) -> Tensor:
    """N texts to unit vectors in the shared space (N, projection) float32 on ``device``.

    Raises `InputError` if there is none, and ValueError if the model has no contrastive loss.
    """

    def embed(start: int) -> Tensor:
        batch: dict[str, Any] = processor(text=texts[start : start + batch_size], padding=True)
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        return model.embed_text(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])

    return _gathered(map(embed, range(0, len(texts), batch_size)), total=len(texts), watch=watch, what=what)


def _gathered(batches: Iterable[Tensor], *, total: int, watch: Watch, what: str) -> Tensor:
    """Vectors (B, D) of each batch as (N, D) float32, N at most ``total``.

    They are written into one tensor: kept apart, between what is needed for a batch, they would keep the heap from
    being used again.
    """
    found: Tensor | None = None
    done = 0
    for vectors in batches:
        if found is None:
            found = vectors.new_empty(total, vectors.shape[1], dtype=torch.float32)
        found[done : done + len(vectors)] = vectors
        done += len(vectors)
        watch(what, done, total)
    if found is None:
        raise InputError(f"there are no {what}, or none that can be read")
    return found[:done]
