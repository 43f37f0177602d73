"""transformers' image towers as image encoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flava_parts.facts import Size
from flava_parts.layers.output import EncoderOutput

from .calls import see
from .facts import image_tokens
from .source import model


class ImageTower(nn.Module):
    """A model of transformers: its own tokens, or what its pooling gives, then the patches.

    The states before and after the last norm are both the model's ``last_hidden_state``; CLIP's and BEiT's, which stop
    before their last norm, are normed for the second. Without a class token the summary is the model's pooled output
    (SigLIP's attention pooling). A hidden patch is covered by a learnt picture of a patch before the model sees it,
    below a linear patch embedding a learnt token. A pooler that nothing reads does not ask for a gradient.
    """

    def __init__(
        self,
        *,
        image_size: Size = 224,
        channels: int = 3,
        config: dict[str, Any] | None = None,
        folder: str | None = None,
    ) -> None:
        super().__init__()
        tokens = image_tokens(config, folder, image_size, channels)
        self.model = model(config, folder)
        self.grid, self.prefix = tokens.grid, tokens.prefix
        self.pixels = (channels, *(image_size if isinstance(image_size, tuple) else (image_size, image_size)))
        self.mask_patch = nn.Parameter(
            torch.empty(channels, self.pixels[1] // tokens.grid.rows, self.pixels[2] // tokens.grid.columns)
        )
        nn.init.normal_(self.mask_patch, std=0.02)
        pooler = getattr(self.model, "pooler", None)
        if pooler is not None and self._last_norm() is None:
            pooler.requires_grad_(False)
        unused = getattr(getattr(self.model, "embeddings", None), "mask_token", None)
        if unused is not None:
            unused.requires_grad_(False)

    def forward(
        self,
        pixels: Tensor,
        masked: Tensor | None = None,
        keep: Tensor | None = None,
        *,
        head_mask: Tensor | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> EncoderOutput:
        """Pixels (B, C, H, W) to the states of summary and patches (B, prefix + P, D).

        ``masked`` (B, P) or (B, rows, columns) is true where a patch is hidden. Raises ValueError for pixels or masks
        of the wrong shape, and for ``keep``, ``head_mask``, attention weights and states between blocks, which the
        towers have no common way to give.
        """
        asked = {
            "keep": keep is not None,
            "head_mask": head_mask is not None,
            "output_attentions": output_attentions,
            "output_hidden_states": output_hidden_states,
        }
        if refused := [name for name, given in asked.items() if given]:
            raise ValueError(f"transformers' {type(self.model).__name__} has no {' and no '.join(refused)} here")
        if pixels.shape[1:] != self.pixels:
            raise ValueError(f"pixels should be (B, {', '.join(map(str, self.pixels))}), not {tuple(pixels.shape)}")
        if masked is not None:
            pixels = self._covered(pixels, masked)
        found = see(self.model, pixels)
        states = found.last_hidden_state
        if states.shape[1] == self.grid.size:
            pooled = getattr(found, "pooler_output", None)
            first = states.mean(dim=1) if pooled is None else pooled
            states = torch.cat([first[:, None], states], dim=1)
            return EncoderOutput(pre_norm=states, last_hidden_state=states)
        norm = self._last_norm()
        return EncoderOutput(pre_norm=states, last_hidden_state=states if norm is None else norm(states))

    def _last_norm(self) -> Any:
        """The norm that a model applies to what it pools alone: CLIP's, and BEiT's where that is a mean."""
        inner = getattr(self.model, "vision_model", self.model)
        return getattr(inner, "post_layernorm", getattr(getattr(inner, "pooler", None), "layernorm", None))

    def _covered(self, pixels: Tensor, masked: Tensor) -> Tensor:
        if masked.shape[0] != pixels.shape[0] or masked[0].numel() != self.grid.size:
            raise ValueError(
                f"masked should have one entry a patch, {(pixels.shape[0], self.grid.size)}, not {tuple(masked.shape)}"
            )
        _, height, width = self.mask_patch.shape
        cells = masked.bool().reshape(-1, 1, self.grid.rows, self.grid.columns)
        hidden = cells.repeat_interleave(height, dim=2).repeat_interleave(width, dim=3)
        return torch.where(hidden, self.mask_patch.repeat(1, self.grid.rows, self.grid.columns), pixels)
