"""What is done to the encoders and their blocks: freezing, recomputing in the backward pass, compiling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from ..heads.specs import ENCODERS, EncoderSlot
from ..layers.transformer import Block


def blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The ``blocks`` of image encoder, text encoder and fusion; a part without such is one block."""
    for slot in ENCODERS:
        part = getattr(model, slot, None)
        if part is not None:
            yield from getattr(part, "blocks", [part])


def recompute(model: nn.Module) -> None:
    """Keep of each block only what goes in; the backward pass runs it again, dropout included (Chen et al. 2016).

    Gradients are the same to the last bit. Names of parameters do not change.
    """
    for block in blocks(model):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def forget(model: nn.Module) -> None:
    """Keep the outputs of norms and activations of FLAVA's own blocks not for the backward pass, which makes them
    again. Gradients are the same to the last bit."""
    for block in blocks(model):
        if isinstance(block, Block):
            block.forget()


def compile_blocks(model: nn.Module) -> None:
    """Have torch compile each block when it first runs. Names of parameters do not change."""
    for block in blocks(model):
        block.compile()


def freeze(model: nn.Module, until: Mapping[EncoderSlot, int], step: int) -> None:
    """Keep parts as they are, without gradients and dropout, before the step that is given for each.

    FSDP2 looks but once whether a parameter asks for gradients. In a model that it has cut into parts they are
    computed, and are for `leave_frozen` to remove.
    """
    # Imported here, since it brings sympy and 60 MB, for nothing to those who only want `forget` or `recompute`.
    from torch.distributed.fsdp import FSDPModule

    for slot, end in until.items():
        part = getattr(model, slot, None)
        if part is not None:
            part.train(step >= end)
            if not isinstance(model, FSDPModule):
                part.requires_grad_(step >= end)


def leave_frozen(model: nn.Module, until: Mapping[EncoderSlot, int], step: int) -> None:
    """Remove gradients of what `freeze` keeps as it is."""
    for slot, end in until.items():
        part = getattr(model, slot, None)
        for weight in part.parameters() if part is not None and step < end else ():
            weight.grad = None
