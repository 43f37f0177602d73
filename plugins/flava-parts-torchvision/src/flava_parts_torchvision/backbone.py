"""What the three families have in common: weights from a file, a mask token, and the contract of an image encoder."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from flava_parts.errors import InputError
from flava_parts.facts import Grid, Size, pair
from flava_parts.layers.output import EncoderOutput


class Backbone(nn.Module):
    """A torchvision model without its classifier, as an image encoder.

    ``model`` keeps torchvision's names. ``width`` is that of the patch embeddings, where the mask token takes the
    place of what is hidden, before any layer mixes patches. A subclass gives `embed` and `encode`.
    """

    prefix = 1
    head: str
    """The name of the classifier's tensors in torchvision's state dict, which are passed over."""

    def __init__(self, *, model: nn.Module, image_size: Size, grid: Grid, width: int, weights: str | None) -> None:
        super().__init__()
        self.model = model
        self.image_size = pair(image_size)
        self.grid = grid
        self.mask_token = nn.Parameter(torch.empty(width))
        nn.init.normal_(self.mask_token, std=0.02)
        if weights is not None:
            self._load(weights)

    def embed(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) to patch embeddings (B, rows, columns, width), on a grid as fine as `grid` or finer."""
        raise NotImplementedError

    def encode(self, patches: Tensor) -> EncoderOutput:
        """Patch embeddings (B, rows, columns, width) to the states of summary and patches (B, 1 + P, D)."""
        raise NotImplementedError

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
        """Pixels (B, 3, H, W) to the states of summary and patches (B, 1 + P, D).

        ``masked`` (B, P) or (B, rows, columns) is true where a patch is hidden behind the mask token. Raises ValueError
        for pixels or masks of the wrong shape, and for what torchvision's models have no way to do: ``keep`` and
        ``head_mask``, attention weights, and states between blocks.
        """
        asked = {
            "keep": keep is not None,
            "head_mask": head_mask is not None,
            "output_attentions": output_attentions,
            "output_hidden_states": output_hidden_states,
        }
        if refused := [name for name, given in asked.items() if given]:
            raise ValueError(f"torchvision's {type(self.model).__name__} has no {' and no '.join(refused)}")
        if pixels.shape[1:] != (3, *self.image_size):
            raise ValueError(
                f"pixels should be (B, 3, {self.image_size[0]}, {self.image_size[1]}), not {tuple(pixels.shape)}"
            )
        patches = self.embed(pixels)
        if masked is not None:
            patches = torch.where(self._hidden(masked, patches)[..., None], self.mask_token, patches)
        return self.encode(patches)

    def _hidden(self, masked: Tensor, patches: Tensor) -> Tensor:
        """A mask of the encoder's patches as one of its embeddings (B, rows, columns), which may be finer."""
        if masked.shape[0] != patches.shape[0] or masked[0].numel() != self.grid.size:
            raise ValueError(
                f"masked should have one entry a patch, {(patches.shape[0], self.grid.size)}, not {tuple(masked.shape)}"
            )
        cells = masked.bool().reshape(-1, self.grid.rows, self.grid.columns)
        finer = patches.shape[1] // self.grid.rows
        return cells.repeat_interleave(finer, dim=1).repeat_interleave(finer, dim=2)

    def _load(self, path: str | Path) -> None:
        """Take torchvision's tensors. Raises InputError if the file is missing, damaged, or of another model."""
        try:
            found = load_file(path)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: cannot read a backbone's weights: {error}") from error
        found = {name: value for name, value in found.items() if not name.startswith(f"{self.head}.")}
        needed = {name: tuple(value.shape) for name, value in self.model.state_dict().items()}
        given = {name: tuple(value.shape) for name, value in found.items()}
        for name in sorted(needed.keys() | given.keys()):
            here, there = needed.get(name, "nothing"), given.get(name, "nothing")
            if here != there:
                raise InputError(f"{path}: weights of another backbone: {name} is {there}, should be {here}")
        self.model.load_state_dict(found)


def with_mean(patches: Tensor) -> Tensor:
    """Patches (B, P, D) behind their mean, which stands for the picture: (B, 1 + P, D)."""
    return torch.cat([patches.mean(dim=1, keepdim=True), patches], dim=1)
