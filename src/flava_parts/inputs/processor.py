"""Pictures and texts to everything a model takes, under the names that FLAVA's users know from transformers."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from ..errors import InputError
from .pictures import Picture
from .views import Views
from .wordpiece import Padding, WordPiece

if TYPE_CHECKING:
    from ..data.specs import DataSpec
    from ..maskers.bert_tokens import BertTokenMasker
    from ..maskers.block import BlockMasker
    from ..maskers.random import RandomMasker
    from ..maskers.whole_words import WholeWordMasker
    from ..spec import FlavaSpec


class Processor:
    """Pictures and texts to tensors: a tokenizer, the two views, and, if wanted, the maskers of both."""

    def __init__(
        self,
        *,
        tokenizer: WordPiece,
        views: Views,
        image_masker: BlockMasker | RandomMasker | None = None,
        text_masker: BertTokenMasker | WholeWordMasker | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.views = views
        self.image_masker = image_masker
        self.text_masker = text_masker

    @classmethod
    def of(cls, model: FlavaSpec, data: DataSpec) -> Processor:
        """The processor of a model's data: sizes, grid and vocabulary come from the parts they belong to."""
        return cls(
            tokenizer=data.tokenizer.build(),
            views=Views.of(model, data.views),
            image_masker=model.image_masker and model.image_masker.build(grid=model.image_encoder.tokens.grid),
            text_masker=model.text_masker and model.text_masker.build(vocab=data.tokenizer.vocab()),
        )

    def __call__(
        self,
        images: Picture | Sequence[Picture] | None = None,
        text: str | Sequence[str] | None = None,
        *,
        return_image_mask: bool = False,
        return_codebook_pixels: bool = False,
        return_masked_text: bool = False,
        return_special_tokens_mask: bool = False,
        padding: Padding = True,
        truncation: bool = True,
        max_length: int | None = None,
        augment: bool = False,
        generator: Generator | None = None,
        **unknown: Any,
    ) -> dict[str, Tensor]:
        """The model's inputs from pictures (B of them, or one), from texts (B of them, or one), or from both.

        images: paths, file contents, Pillow images, arrays or tensors, as `rgb` takes them.
            pixel_values (B, 3, H, W); with ``return_codebook_pixels`` codebook_pixel_values (B, 3, h, w);
            with ``return_image_mask`` bool_masked_pos (B, P) bool. ``augment``: random crop and flip, both views alike.
        text: longer ones are cut to ``max_length`` tokens, the tokenizer's length if not given.
            input_ids, attention_mask and token_type_ids (B, L) int64; with ``return_masked_text`` input_ids_masked
            and mlm_labels (B, L) int64; with ``return_special_tokens_mask`` special_tokens_mask (B, L) int64, which
            a model's `mask` reads but its `forward` does not.
        generator: what is random is drawn from it, from torch's default generator if not given.

        Pictures and texts need not be equally many: N pictures are scored against M texts by their embeddings. A model
        that fuses pairs asks for equal numbers. Raises `InputError` for what cannot be read and for unknown arguments.
        """
        if unknown:
            raise InputError(_unknown_arguments(unknown))
        if return_codebook_pixels and (self.views.codebook_size is None or images is None):
            raise InputError("return_codebook_pixels needs images and a model with a codebook")
        generator = torch.default_generator if generator is None else generator
        batch: dict[str, Tensor] = {}
        if text is not None:
            tokens = self.tokenizer(
                [text] if isinstance(text, str) else text, padding=padding, truncation=truncation, max_length=max_length
            )
            batch.update(tokens._asdict())
        if images is not None:
            views = self.views(_pictures(images), generator if augment else None, codebook=return_codebook_pixels)
            batch["pixel_values"] = views.pixel_values
            if views.codebook_pixel_values is not None:
                batch["codebook_pixel_values"] = views.codebook_pixel_values
        if return_image_mask:
            if self.image_masker is None or images is None:
                raise InputError("return_image_mask needs images and a model with an image_masker")
            batch["bool_masked_pos"] = self.image_masker(len(batch["pixel_values"]), generator)
        if return_masked_text:
            if self.text_masker is None or text is None:
                raise InputError("return_masked_text needs text and a model with a text_masker")
            masked = self.text_masker(batch["input_ids"], batch["special_tokens_mask"].bool(), generator)
            batch["input_ids_masked"], batch["mlm_labels"] = masked.ids, masked.labels
        if not return_special_tokens_mask:
            batch.pop("special_tokens_mask", None)
        return batch


def _pictures(images: Picture | Sequence[Picture]) -> Sequence[Picture]:
    """One picture, several, or an array or tensor with a batch axis, as a sequence of pictures."""
    if isinstance(images, (np.ndarray, Tensor)):
        return list(images) if images.ndim == 4 else [images]
    return [images] if isinstance(images, (str, bytes, Path, Image.Image)) else images


def _unknown_arguments(unknown: dict[str, Any]) -> str:
    known = [name for name in signature(Processor.__call__).parameters if name not in ("self", "unknown")]
    sentences: list[str] = []
    for name in unknown:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"
        sentences.append(f"the processor has no argument {name!r}; {hint}")
    return "; ".join(sentences)
