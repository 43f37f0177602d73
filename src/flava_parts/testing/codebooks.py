"""The laws of codebooks."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Any

import torch

from ..facts import Codes, pair
from .law import ExemptError, LawError, law
from .modules import BATCH, WITHOUT_GRADIENT, ModuleBench, Tensors, same

FITTED_ON = 16
"""Images that a codebook is fitted on, if it is one that is."""


class CodebookBench(ModuleBench):
    """A codebook, fitted on images if it has to be."""

    kind = "codebook"

    @property
    def codes(self) -> Codes:
        """What the spec states."""
        return self.spec.codes

    def images(self, count: int, seed: int) -> torch.Tensor:
        """Pixels (B, C, H, W) from 0 to 1."""
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(count, self.spec.channels, *pair(self.spec.image_size), generator=generator)

    def build(self, device: str = "cpu", seed: int = 0) -> Any:
        if self.spec.is_random and device == "cpu":
            raise ExemptError("its weights come with a checkpoint; test it with weights that it may begin with")
        part = super().build(device, seed)
        if self.spec.learns_from_images and device == "cpu":
            part.fit(self.images(FITTED_ON, seed), torch.Generator().manual_seed(seed))
        return part

    @cached_property
    def part(self) -> Any:
        return self.build()

    def inputs(self, batch: int = BATCH, seed: int = 0) -> Tensors:
        return {"pixels": self.images(batch, seed + 1)}

    def run(self, part: Any, inputs: Tensors) -> Tensors:
        return {"codes": part(inputs["pixels"])}

    def stated(self, batch: int) -> dict[str, tuple[int, ...]]:
        return {"codes": (batch, self.codes.grid.size)}


@law("return int64 codes from 0 to vocab_size - 1, computed under torch.no_grad")
def codes(bench: CodebookBench) -> None:
    """Codes are int64, without gradient, and below the stated vocabulary."""
    with torch.enable_grad():
        found = bench.run(bench.part, {"pixels": bench.inputs()["pixels"].requires_grad_()})["codes"]
    if found.dtype != torch.int64:
        raise LawError(f"codes are {found.dtype}")
    if found.requires_grad:
        raise LawError("codes ask for gradients")
    low, high = int(found.min()), int(found.max())
    if low < 0 or high >= bench.codes.vocab_size:
        raise LawError(f"codes go from {low} to {high}, beyond the stated vocabulary of {bench.codes.vocab_size}")


@law("derive the module from `Codebook`, which keeps weights and sums in float32; or cast pixels inside forward")
def float32(bench: CodebookBench) -> None:
    """A model that is cast to bfloat16, or runs under autocast, has the same labels."""
    inputs = bench.inputs()
    plain = bench.outputs(bench.part, inputs)
    cast = copy.deepcopy(bench.part).to(torch.bfloat16)
    try:
        same(plain, bench.outputs(cast, inputs), "after a cast to bfloat16")
        with torch.autocast("cpu", torch.bfloat16):
            same(plain, bench.outputs(bench.part, inputs), "under autocast")
    except RuntimeError as error:
        raise LawError(f"after a cast to bfloat16: {error}") from error


@law("let a code depend on the picture")
def reads_pixels(bench: CodebookBench) -> None:
    """Other images have other codes."""
    seen = {tuple(row.tolist()) for row in bench.outputs(bench.part, bench.inputs(8))["codes"]}
    if len(seen) == 1 and bench.codes.vocab_size > 1:
        raise LawError("eight images of noise have the same codes")


CodebookBench.laws = (*WITHOUT_GRADIENT, codes, float32, reads_pixels)
