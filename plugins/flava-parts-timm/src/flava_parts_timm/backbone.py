"""timm's backbones as image encoders."""

from __future__ import annotations

from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from flava_parts.errors import InputError
from flava_parts.facts import Size, pair
from flava_parts.layers.output import EncoderOutput

from .features import channels_last, create, features


class TimmBackbone(nn.Module):
    """A timm model's ``forward_features`` as a sequence: its own tokens, or the mean of its patches, then the patches.

    A hidden patch is covered by a learnt picture of a patch before the model sees it, which serves every
    architecture; below a linear patch embedding that is a learnt token. timm's models differ in where their last norm
    lies, so the states before and after it are both what ``forward_features`` gives. Parameters that these do
    not depend on, such as a norm behind the pooling, do not ask for a gradient.
    """

    def __init__(
        self,
        *,
        model: str = "vit_base_patch16_224",
        image_size: Size = 224,
        channels: int = 3,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        found = features(model, image_size, channels)
        self.image_size, self.channels = pair(image_size), channels
        self.grid, self.prefix, self.own = found.tokens.grid, found.tokens.prefix, found.own
        self.model = create(model, image_size, channels)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name not in found.idle)
        (height, width), grid = self.image_size, self.grid
        tiles = not (height % grid.rows or width % grid.columns)
        self.mask_patch = (
            nn.Parameter(torch.empty(channels, height // grid.rows, width // grid.columns)) if tiles else None
        )
        if self.mask_patch is not None:
            nn.init.normal_(self.mask_patch, std=0.02)
        if weights is not None:
            self._load(weights)

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
        of the wrong shape, for a mask where the grid does not tile the picture, and for what there is no common way to
        ask of timm's models: ``keep`` and ``head_mask``, attention weights, and states between blocks.
        """
        asked = {
            "keep": keep is not None,
            "head_mask": head_mask is not None,
            "output_attentions": output_attentions,
            "output_hidden_states": output_hidden_states,
        }
        if refused := [name for name, given in asked.items() if given]:
            raise ValueError(f"timm's {type(self.model).__name__} has no {' and no '.join(refused)}")
        if pixels.shape[1:] != (self.channels, *self.image_size):
            needed = ", ".join(map(str, (self.channels, *self.image_size)))
            raise ValueError(f"pixels should be (B, {needed}), not {tuple(pixels.shape)}")
        if masked is not None:
            pixels = self._covered(pixels, masked)
        states = self._sequence(self.model.forward_features(pixels))
        return EncoderOutput(pre_norm=states, last_hidden_state=states)

    def _sequence(self, given: Tensor) -> Tensor:
        """Features of any layout to (B, prefix + P, D)."""
        if given.dim() == 4:
            given = given.flatten(1, 2) if channels_last(self.model) else given.flatten(2).transpose(1, 2)
        return given if self.own else torch.cat([given.mean(dim=1, keepdim=True), given], dim=1)

    def _covered(self, pixels: Tensor, masked: Tensor) -> Tensor:
        if self.mask_patch is None:
            raise ValueError(f"a grid of {self.grid} does not tile the picture, so that no patch can be hidden")
        if masked.shape[0] != pixels.shape[0] or masked[0].numel() != self.grid.size:
            raise ValueError(
                f"masked should have one entry a patch, {(pixels.shape[0], self.grid.size)}, not {tuple(masked.shape)}"
            )
        _, height, width = self.mask_patch.shape
        cells = masked.bool().reshape(-1, 1, self.grid.rows, self.grid.columns)
        hidden = cells.repeat_interleave(height, dim=2).repeat_interleave(width, dim=3)
        return torch.where(hidden, self.mask_patch.repeat(1, self.grid.rows, self.grid.columns), pixels)

    def _load(self, path: str) -> None:
        """Take timm's tensors. Raises InputError if the file is missing, damaged, or of another model."""
        try:
            found = load_file(path)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: cannot read a backbone's weights: {error}") from error
        named: Any = self.model.pretrained_cfg.get("classifier") or ()
        classifiers = tuple(f"{name}." for name in ((named,) if isinstance(named, str) else named))
        needed = {name: tuple(value.shape) for name, value in self.model.state_dict().items()}
        given = {
            name: tuple(value.shape)
            for name, value in found.items()
            if name in needed or not name.startswith(classifiers)
        }
        for name in sorted(needed.keys() | given.keys()):
            here, there = needed.get(name, "nothing"), given.get(name, "nothing")
            if here != there:
                raise InputError(f"{path}: weights of another backbone: {name} is {there}, should be {here}")
        self.model.load_state_dict({name: found[name] for name in given})
