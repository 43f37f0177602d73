"""What of a trained model is exported: its image tower, its text tower, and its scorer of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from ..errors import InputError
from ..model import FlavaForPreTraining

Part = Literal["image", "text", "pairs"]
"""What can be exported."""

Input = Literal["input_ids", "attention_mask", "pixel_values"]
"""What an exported part may read, under transformers' names."""


class ImageTower(nn.Module):
    """Pixels (B, C, H, W) to unit vectors in the shared space (B, projection)."""

    def __init__(self, encoder: nn.Module, contrastive: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.contrastive = contrastive

    def forward(self, pixel_values: Tensor) -> tuple[Tensor]:
        return (self.contrastive.embed_image(self.encoder(pixel_values).last_hidden_state[:, 0]),)


class TextTower(nn.Module):
    """Ids and keep mask (B, L) to unit vectors in the shared space (B, projection)."""

    def __init__(self, encoder: nn.Module, contrastive: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.contrastive = contrastive

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor]:
        return (self.contrastive.embed_text(self.encoder(input_ids, attention_mask).last_hidden_state[:, 0]),)


class PairScorer(nn.Module):
    """Ids and keep mask (B, L) and pixels (B, C, H, W) to cosine (B,) and match probability (B,)."""

    def __init__(self, model: FlavaForPreTraining) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor) -> tuple[Tensor, Tensor | None]:
        scores = self.model.score_pairs(input_ids, pixel_values, attention_mask)
        return scores.similarity, scores.match_probability


@dataclass(frozen=True, slots=True)
class Exportable:
    """A part of a model as a module of its own, and what its inputs and outputs are called, in order."""

    module: nn.Module
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]


def exportable(model: FlavaForPreTraining, part: Part) -> Exportable:
    """A part of a model, sharing its weights. Raises InputError if the model lacks what the part is made of."""
    contrastive = _loss(model, "embed_image")
    if contrastive is None:
        raise InputError("the model has no contrastive loss, whose projections every export needs; train it with one")
    match part:
        case "image":
            return Exportable(ImageTower(model.image_encoder, contrastive[1]), ("pixel_values",), ("image_embedding",))
        case "text":
            tower = TextTower(model.text_encoder, contrastive[1])
            return Exportable(tower, ("input_ids", "attention_mask"), ("text_embedding",))
        case "pairs":
            return Exportable(
                PairScorer(_scorer(model, contrastive)),
                ("input_ids", "attention_mask", "pixel_values"),
                ("similarity", "match_probability"),
            )


def _scorer(model: FlavaForPreTraining, contrastive: tuple[str, nn.Module]) -> FlavaForPreTraining:
    """The model without all that scoring pairs does not read: codebook, maskers, other losses."""
    matching = _loss(model, "matched")
    if model.fusion is None or matching is None:
        missing = "fusion" if model.fusion is None else "matching loss"
        raise InputError(f"the model has no {missing}, which judges pairs; export its image and text towers instead")
    return FlavaForPreTraining(
        image_encoder=model.image_encoder,
        text_encoder=model.text_encoder,
        fusion=model.fusion,
        codebook=None,
        image_masker=None,
        text_masker=None,
        pair_masker=None,
        losses=nn.ModuleDict(dict([contrastive, matching])),
        readings={},
    )


def _loss(model: FlavaForPreTraining, method: str) -> tuple[str, nn.Module] | None:
    """The first loss that can do something besides being a loss, with its name."""
    return next(((name, loss) for name, loss in model.losses.items() if hasattr(loss, method)), None)
