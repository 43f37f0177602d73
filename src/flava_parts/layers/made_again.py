"""Tensors that the backward pass makes again instead of having them kept: the same gradient with less memory."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

CHEAP = (nn.LayerNorm, nn.GELU)
"""Layers that keep their input in any case, and take little time to run again."""


def made_again(output: Tensor, layer: nn.Module, given: Tensor, *, asked: bool) -> AbstractContextManager[object]:
    """A context in which what is to be kept of ``output`` is not: when the backward pass asks for it, ``layer`` makes
    it again of ``given``, as it made it before. The output has to live as long as the context.

    Everything is kept if that is not ``asked``, if the layer is none of `CHEAP`, if there will be no backward pass, and
    where torch compiles, since compilers decide that for themselves.
    """
    if not asked or type(layer) not in CHEAP or not output.requires_grad or torch.compiler.is_compiling():
        return nullcontext()
    source, storage, count = given.detach(), _storage(output), output.numel()  # the output itself is not to live on
    device = given.device.type
    shorter = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None

    def pack(tensor: Tensor) -> Tensor | torch.Size:
        same = _storage(tensor) == storage and tensor.numel() == count and tensor.is_contiguous()
        return tensor.shape if same else tensor

    def unpack(kept: Tensor | torch.Size) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        with torch.no_grad(), torch.autocast(device, dtype=shorter, enabled=shorter is not None):
            return layer.forward(source).view(kept)

    return saved_tensors_hooks(pack, unpack)


def _storage(tensor: Tensor) -> int:
    """Which memory a tensor is in, also where that is only imagined; torch has no public name for it."""
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]
