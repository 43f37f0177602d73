"""How models of transformers are called, where they differ in what they want."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def see(model: Any, pixels: Tensor) -> Any:
    """The output of an image tower for pixels (B, C, H, W). SigLIP2's is given them cut into patches."""
    if model.config.model_type != "siglip2_vision_model":
        return model(pixels)
    side = model.config.patch_size
    patches = pixels.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # B, C, rows, side, columns, side
    patches = patches.permute(0, 2, 4, 3, 5, 1)
    # The model looks at the values of its shapes, which only the CPU has at no cost.
    shapes = torch.tensor([patches.shape[1:3]] * len(pixels), device="cpu")
    return model(patches.flatten(3).flatten(1, 2), pixel_attention_mask=None, spatial_shapes=shapes)


def read(model: Any, ids: Tensor, keep: Tensor | None = None, **given: Tensor) -> Any:
    """The output of a text encoder for ids (B, L), ``keep`` (B, L) false or 0 at padding."""
    if ids.is_meta:  # there are no values there, and transformers looks at those of ids and masks
        return model(inputs_embeds=model.get_input_embeddings()(ids), **given)
    return model(ids, attention_mask=None if keep is None else keep.long(), **given)
