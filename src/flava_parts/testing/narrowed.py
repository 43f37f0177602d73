"""The laws of encoders that compute only what is read of their states, as the model asks them to in training."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from ..layers.attention import at
from ..narrowing import Labelled, takes
from .law import ExemptError, LawError, law
from .modules import ModuleBench, Tensors, same


class EncoderBench(ModuleBench):
    """An encoder or fusion: a module from sequences to an `EncoderOutput`."""

    present = "present"
    """The argument that says which words matter to anybody."""

    @abstractmethod
    def encode(self, part: Any, inputs: Tensors, **asked: Any) -> Any:
        """The `EncoderOutput` of a pass, called as the model calls the part."""

    @abstractmethod
    def real(self, inputs: Tensors) -> Tensor:
        """(B, N) bool: the tokens of the sequence that somebody may read, all but padding."""


@law("apply `read` after the last layer that mixes tokens, and to residual, states and mask alike; or do not take it")
def narrowed(bench: EncoderBench) -> None:
    """The states at the positions that are read, and their gradients, are those of the whole sequence."""
    if not takes(bench.part, "read"):
        raise ExemptError("forward takes no `read`, so that every position is computed")
    real = bench.real(bench.inputs())
    every_other = (torch.arange(real.shape[1]) + torch.arange(len(real))[:, None]) % 2 == 0
    labelled = Labelled.where(real & every_other)
    first = torch.zeros(1, dtype=torch.long)
    inputs = bench.inputs()
    for read, counted in ((first, real[:, :1]), (labelled.positions, labelled.real)):
        whole, narrow = (_states(bench, inputs, read, counted, asked=how) for how in ({}, {"read": read}))
        if whole[0]["pre_norm"].shape != narrow[0]["pre_norm"].shape:
            shapes = tuple(narrow[0]["pre_norm"].shape), tuple(read.shape)
            raise LawError(f"states are {shapes[0]} where `read` is {shapes[1]}")
        for name, one, other in zip(("states", "gradients"), whole, narrow, strict=True):
            same(one, other, f"{name} where only {tuple(read.shape)} are read differ from those of the whole")


@law("let `present` (in a fusion `text_present`) change nothing at the words that it is true at; or do not take it")
def spared(bench: EncoderBench) -> None:
    """Where padding may be left out, states of all else, and their gradients, are as they are with it."""
    if not takes(bench.part, bench.present):
        raise ExemptError(f"forward takes no `{bench.present}`, so that padding is computed as well")
    inputs = bench.inputs()
    length = inputs["keep"].shape[1]
    inputs["keep"] = inputs["keep"] * (torch.arange(length) <= length // 4)
    real = bench.real(inputs)
    every = torch.arange(real.shape[1])
    asked = {bench.present: inputs["keep"].bool()}
    whole, spare = (_states(bench, inputs, every, real, asked=how) for how in ({}, asked))
    for name, one, other in zip(("states", "gradients"), whole, spare, strict=True):
        same(one, other, f"{name} differ where `{bench.present}` is given")


def _states(
    bench: EncoderBench, inputs: Tensors, read: Tensor, counted: Tensor, *, asked: Tensors
) -> tuple[Tensors, Tensors]:
    """States at the positions ``read``, 0 where they do not count, and the gradients that they give."""
    inputs = {
        name: value.clone().requires_grad_() if value.is_floating_point() else value for name, value in inputs.items()
    }
    learnt = {name: value for name, value in [*bench.part.named_parameters(), *inputs.items()] if value.requires_grad}
    with torch.enable_grad():
        output = bench.encode(bench.part, inputs, **asked)
        found: Tensors = {}
        for name in ("last_hidden_state", "pre_norm"):
            states = getattr(output, name) if "read" in asked else at(getattr(output, name), read)
            found[name] = states * counted[..., None] if states.shape[:2] == counted.shape else states
        noise = torch.Generator().manual_seed(0)
        total = torch.stack([(states * torch.randn(states.shape, generator=noise)).sum() for states in found.values()])
    wanted = [*learnt.values()]
    gradients = torch.autograd.grad(total.sum(), wanted, allow_unused=True, materialize_grads=True) if wanted else ()
    return {name: states.detach() for name, states in found.items()}, dict(zip(learnt, gradients, strict=True))
