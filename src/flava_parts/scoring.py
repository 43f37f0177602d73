"""What a trained FLAVA says of images and texts: vectors in a shared space, similarities, matches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from .facts import Streams
from .output import AllScores, PairScores, Ranking

if TYPE_CHECKING:
    from .encoders.text import TextTransformer
    from .encoders.vision import VisionTransformer
    from .fusion.transformer import FusionTransformer


@dataclass(frozen=True, slots=True)
class _Side:
    """Images or texts that went through their encoder."""

    states: Tensor
    """(N, length, D) before the final norm, for the fusion."""
    vectors: Tensor
    """(N, projection) unit length."""
    keep: Tensor | None = None
    """(N, L) which words are real."""


class Scorer(nn.Module):
    """A model's answers without labels: from encoders, and from what its losses learnt besides being losses."""

    image_encoder: VisionTransformer
    text_encoder: TextTransformer
    fusion: FusionTransformer | None
    losses: nn.ModuleDict

    def embed_image(self, pixel_values: Tensor, image_attention_mask: Tensor | None = None) -> Tensor:
        """Images (B, C, H, W) to unit vectors in the shared space (B, projection).

        Raises ValueError if the model has no contrastive loss, whose projections these are.
        """
        states = self.image_encoder(pixel_values, keep=image_attention_mask)
        return self._need("embed_image").embed_image(states.last_hidden_state[:, 0])

    def embed_text(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """Texts (B, L) to unit vectors in the shared space (B, projection).

        Raises ValueError if the model has no contrastive loss, whose projections these are.
        """
        states = self.text_encoder(input_ids, attention_mask, token_type_ids, position_ids)
        return self._need("embed_text").embed_text(states.last_hidden_state[:, 0])

    def score_pairs(
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> PairScores:
        """How well each image fits its text, from one clean pass of each encoder.

        ``match_probability`` is None if the model has no matching loss. Raises ValueError without a contrastive one.
        """
        check_pairs(pixel_values, input_ids)
        images, texts = self._encode_apart(input_ids, pixel_values, attention_mask, token_type_ids)
        return PairScores(
            similarity=(images.vectors * texts.vectors).sum(dim=-1),
            match_probability=self._match(images.states, texts.states, texts.keep),
        )

    def score_all(
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        pairs: Tensor | None = None,
        chunk: int = 64,
    ) -> AllScores:
        """How well each of N images fits each of M texts, from one clean pass of each encoder.

        Texts are (M, L), images (N, C, H, W). ``match_probability`` is that of all pairs (N, M), or of ``pairs``,
        (n, 2) indices of an image and a text each, as (n,); the fusion sees ``chunk`` pairs at once. None if the model
        has no matching loss. Raises ValueError without a contrastive one.
        """
        images, texts = self._encode_apart(input_ids, pixel_values, attention_mask, token_type_ids)
        similarity = images.vectors @ texts.vectors.T
        chosen = torch.ones_like(similarity, dtype=torch.bool).nonzero() if pairs is None else pairs
        if chosen.dim() != 2 or chosen.shape[1] != 2:
            raise ValueError(f"pairs should be (n, 2), an image and a text each, not {tuple(chosen.shape)}")
        probability = self._match_chosen(images, texts, chosen, chunk=chunk)
        if probability is not None and pairs is None:
            probability = probability.reshape(similarity.shape)
        return AllScores(similarity=similarity, match_probability=probability)

    def rank(
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        k: int,
        for_each: Literal["image", "text"] = "image",
        chunk: int = 64,
    ) -> Ranking:
        """For each of N images the ``k`` of M texts with the highest cosines, or for each text the k images.

        Of equal ones the first comes first. Only what is returned goes through the fusion, ``chunk`` pairs at once.
        Raises ValueError if ``k`` is less than 1 or there are not so many candidates, and without a contrastive loss.
        """
        images, texts = self._encode_apart(input_ids, pixel_values, attention_mask, token_type_ids)
        similarity = images.vectors @ texts.vectors.T
        if for_each == "text":
            similarity = similarity.T
        if not 1 <= k <= similarity.shape[1]:
            candidates = "texts" if for_each == "image" else "images"
            raise ValueError(f"the best {k} of {similarity.shape[1]} {candidates} were asked for")
        best, indices = (found[:, :k] for found in similarity.sort(dim=1, descending=True, stable=True))
        queries = torch.arange(len(indices), device=indices.device)[:, None].expand_as(indices)
        order = (queries, indices) if for_each == "image" else (indices, queries)
        probability = self._match_chosen(images, texts, torch.stack(order, dim=-1).flatten(0, 1), chunk=chunk)
        return Ranking(
            indices=indices,
            similarity=best,
            match_probability=None if probability is None else probability.reshape(indices.shape),
        )

    def _encode_apart(
        self, input_ids: Tensor, pixel_values: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None
    ) -> tuple[_Side, _Side]:
        """Images and texts, however many of each, through their encoders once and into the shared space."""
        shared = self._need("embed_image")
        image = self.image_encoder(pixel_values)
        text = self.text_encoder(input_ids, attention_mask, token_type_ids)
        return (
            _Side(image.pre_norm, shared.embed_image(image.last_hidden_state[:, 0])),
            _Side(text.pre_norm, shared.embed_text(text.last_hidden_state[:, 0]), attention_mask),
        )

    def _match(self, image: Tensor, text: Tensor, text_keep: Tensor | None) -> Tensor | None:
        """States of images and texts, before their final norm, to match probabilities (B,); None without the loss."""
        judge = self._first("matched")
        if judge is None or self.fusion is None:
            return None
        fused = self.fusion(image, text, None, text_keep).last_hidden_state
        summary = self.fusion.layout(patches=0, words=0).summary
        return judge.logits({Streams.FUSED_SUMMARY: fused[:, summary]}).softmax(dim=-1)[:, 1]

    def _match_chosen(self, images: _Side, texts: _Side, pairs: Tensor, *, chunk: int) -> Tensor | None:
        """The match probabilities (n,) of chosen pairs (n, 2) of image and text, ``chunk`` at once."""
        found: list[Tensor] = []
        for image, text in (part.unbind(dim=1) for part in pairs.split(chunk)):  # one empty part if there are none
            keep = None if texts.keep is None else texts.keep[text]
            probability = self._match(images.states[image], texts.states[text], keep)
            if probability is None:
                return None
            found.append(probability)
        return torch.cat(found)

    def _first(self, method: str) -> Any:
        """The first loss that can do something besides being a loss, or None."""
        return next((loss for loss in self.losses.values() if hasattr(loss, method)), None)

    def _need(self, method: str) -> Any:
        loss = self._first(method)
        if loss is None:
            raise ValueError("the model has no contrastive loss, and so no projections into a shared space")
        return loss


def check_pairs(images: Tensor, texts: Tensor) -> None:
    """Raise ValueError if images (B, ...) and texts (B, ...) are not equally many."""
    # An exported graph keeps a batch size that is read from `shape`; `len` would make it a constant.
    if images.shape[0] != texts.shape[0]:
        raise ValueError(f"there are {images.shape[0]} images but {texts.shape[0]} texts; pairs have one text an image")
