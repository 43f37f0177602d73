"""The codebook: turns an image into the codes that masked image modelling predicts (FLAVA section 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..errors import InputError
from ..facts import Size, pair


class Codebook(nn.Module):
    """Pixels (B, C, H, W) to codes (B, P) int64, without gradient, in float32 whatever the model around it does.

    Labels must not depend on the precision of training: the weights stay float32 when the model is cast, autocast is
    off inside, and checkpoints in another precision are widened as they load. A frozen codebook holds its weights as
    buffers, so that ``model.requires_grad_(True)`` and optimisers pass it by.

    A codebook that nothing has trained holds zeros and is not `ready`. Zeros travel through a checkpoint, so one that
    was saved before it was ready is not ready after loading either.

    A subclass creates its weights as zeros in float32 and gives `assign` and `remedy`.
    """

    remedy: str
    """What to do when the codebook is not ready, for the error."""

    ready: bool
    """Whether it can give codes: its weights were loaded, fitted, or asked to be random."""

    def __init__(self, *, image_size: Size, channels: int, weights: str | None) -> None:
        super().__init__()
        self.image_size = pair(image_size)
        self.channels = channels
        self.weights = weights
        self.ready = False
        self.register_load_state_dict_pre_hook(_before_loading)

    def forward(self, pixels: Tensor) -> Tensor:
        """Codes (B, P) of ``pixels`` (B, C, H, W), row by row. On the meta device only the shape counts.

        Raises InputError if the codebook is not `ready`, or the pixels are not of the size that it is for.
        """
        with torch.no_grad():
            return self._exactly(self.assign, pixels)

    def assign(self, pixels: Tensor) -> Tensor:
        """Codes (B, P) int64 of checked float32 ``pixels`` (B, C, H, W)."""
        raise NotImplementedError

    def load_weights(self, path: str | Path) -> Self:
        """Take the weights from a safetensors file, as `save` writes it.

        Raises InputError if the file is missing, damaged, or of a codebook of another shape.
        """
        try:
            found = load_file(path)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: cannot read codebook weights: {error}") from error
        needed = {name: tuple(value.shape) for name, value in self.state_dict().items()}
        given = {name: tuple(value.shape) for name, value in found.items()}
        for name in sorted(needed.keys() | given.keys()):
            here, there = needed.get(name, "nothing"), given.get(name, "nothing")
            if here != there:
                raise InputError(f"{path}: weights of another codebook: {name} is {there}, should be {here}")
        self.load_state_dict(found)
        return self

    def save(self, path: str | Path) -> None:
        """Write the weights to a safetensors file. Raises InputError if the codebook is not `ready`."""
        self._check_ready()
        save_file({name: value.contiguous() for name, value in self.state_dict().items()}, path)

    def _exactly(self, read: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
        """What ``read`` gives for checked ``pixels`` in float32, outside autocast."""
        self._check_size(pixels)
        if pixels.is_meta:
            return read(pixels.float())
        self._check_ready()
        with torch.autocast(pixels.device.type, enabled=False):
            return read(pixels.float())

    def _check_size(self, pixels: Tensor) -> None:
        if tuple(pixels.shape[1:]) != (self.channels, *self.image_size):
            needed = ", ".join(str(side) for side in (self.channels, *self.image_size))
            raise InputError(f"the codebook needs pixels of shape (B, {needed}), not {tuple(pixels.shape)}")

    def _check_ready(self) -> None:
        if self.ready:
            return
        if self.weights is not None:
            raise InputError(f"the codebook's weights have not been loaded; call load_weights({self.weights!r})")
        raise InputError(self.remedy)

    def _keep_out_of_training(self) -> None:
        """Turn the parameters into buffers: the same names in the state dict, nothing for optimisers."""
        for module in self.modules():
            for name, value in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, value.detach())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move as told, but never to another precision: the values are taken from before the cast."""

        def move(value: Tensor) -> Tensor:
            moved = fn(value)
            return moved if moved.dtype == torch.float32 else value.to(moved.device, torch.float32)

        return super()._apply(move, recurse)


def _before_loading(codebook: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Widen what is loaded, here and in the layers below, and see whether all of it is there and not just zeros."""
    assert isinstance(codebook, Codebook)
    needed = {name: value.shape for name, value in codebook.state_dict(prefix=prefix).items()}
    given: dict[str, Tensor] = {name: state_dict[name].float() for name in needed if name in state_dict}
    state_dict.update(given)
    if needed and needed == {name: value.shape for name, value in given.items()}:
        codebook.ready = any(bool(value.any()) for value in given.values())
