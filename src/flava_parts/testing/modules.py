"""What is common to parts that are torch modules, from encoders to losses: runs of them, compared with each other."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, cast

import torch
from torch import Tensor, nn

from .bench import Bench
from .law import Law, LawError, law, one_line

Tensors = dict[str, Tensor]
BATCH = 3
TOLERANCE = 1e-4
"""How far two ways to the same numbers may lie apart, relative to the largest of them (float32)."""


class ModuleBench(Bench):
    """A part that is a torch module: inputs for it, a run of it as the model runs it, and the shapes that it states."""

    rows = True
    """Whether outputs have a row for each sample; else they are of the batch as a whole."""

    @abstractmethod
    def inputs(self, batch: int = BATCH, seed: int = 0) -> Tensors:
        """Inputs of ``batch`` samples, on the CPU."""

    @abstractmethod
    def run(self, part: Any, inputs: Tensors) -> Tensors:
        """The outputs, called as the model calls the part."""

    @abstractmethod
    def stated(self, batch: int) -> dict[str, tuple[int, ...]]:
        """The shapes of outputs that the spec states."""

    def build(self, device: str = "cpu", seed: int = 0) -> Any:
        part = super().build(device, seed)
        if not isinstance(part, nn.Module):
            raise LawError(f"build returns {type(part).__name__}, which is no torch module", "derive it from nn.Module")
        return part.eval()

    @torch.no_grad()
    def outputs(self, part: Any, inputs: Tensors) -> Tensors:
        """A run without gradients."""
        return self.run(part, inputs)

    def equal(self, one: Any, other: Any) -> bool:
        inputs = self.inputs()
        return super().equal(one, other) and _difference(self.outputs(one, inputs), self.outputs(other, inputs)) is None


def _difference(one: Tensors, other: Tensors) -> str | None:
    """The first output that differs, and by how much; none if none does."""
    for name in one.keys() & other.keys():
        here, there = one[name], other[name]
        if here.shape != there.shape:
            return f"{name} is {tuple(here.shape)} and {tuple(there.shape)}"
        if here.numel() and here.is_floating_point():
            here, there = here.double(), there.double()
            apart = float((here - there).abs().max())
            if not apart <= TOLERANCE * max(1.0, float(here.abs().max())):
                return f"{name} differs by {apart:.3g}"
        elif not torch.equal(here, there):
            return f"{name} differs at {int((here != there).sum())} of {here.numel()} places"
    return None


def same(one: Tensors, other: Tensors, why: str) -> None:
    """Raise a `LawError` where two runs that should give the same do not."""
    difference = _difference(one, other)
    if difference is not None:
        raise LawError(f"{why}: {difference}")


@law("correct the facts, or the module: widths, grid, prefix and length follow from the spec's fields alone")
def facts(bench: ModuleBench) -> None:
    """Outputs have the shapes that the spec states, on the meta device and on data, and are finite."""
    for device in ("meta", "cpu"):
        part = bench.build(device) if device == "meta" else bench.part
        for batch in (1, BATCH):
            inputs = {name: value.to(device) for name, value in bench.inputs(batch).items()}
            try:
                outputs = bench.outputs(part, inputs)
            except Exception as error:
                raise LawError(f"on the {device} device, a batch of {batch}: {one_line(error)}") from error
            for name, shape in bench.stated(batch).items():
                if tuple(outputs[name].shape) != shape:
                    real = tuple(outputs[name].shape)
                    raise LawError(f"on the {device} device {name} is {real}, but the spec states {shape}")
                if device == "cpu" and not outputs[name].isfinite().all():
                    raise LawError(f"{name} is not finite")


@law("draw weights from torch's default generator alone, and nothing at all in evaluation mode")
def deterministic(bench: ModuleBench) -> None:
    """The same seed gives the same weights, and the same inputs the same outputs in evaluation mode."""
    inputs = bench.inputs()
    outputs = bench.outputs(bench.part, inputs)
    same(outputs, bench.outputs(bench.part, inputs), "two runs differ")
    same(outputs, bench.outputs(bench.build(), inputs), "two parts from one seed differ")


@law("work on a copy: what comes in may be read by other parts too")
def inputs_kept(bench: ModuleBench) -> None:
    """Inputs are never written to."""
    inputs = bench.inputs()
    before = {name: value.clone() for name, value in inputs.items()}
    bench.outputs(bench.part, inputs)
    changed = [name for name in inputs if not torch.equal(before[name], inputs[name])]
    if changed:
        raise LawError(f"{', '.join(changed)} changed in the run")


@law("let no row look at another: no batch statistics in evaluation mode, no reshaping across the batch")
def batch_order(bench: ModuleBench) -> None:
    """Samples in another order give outputs in that order; what stands for a batch as a whole stays."""
    inputs, order = bench.inputs(), torch.tensor([2, 0, 1])
    turned = {name: value[order] if value.dim() else value for name, value in inputs.items()}
    outputs = bench.outputs(bench.part, inputs)
    expected = {name: value[order] if bench.rows else value for name, value in outputs.items()}
    same(expected, bench.outputs(bench.part, turned), "in another order of the batch")
    if bench.rows:
        alone = bench.outputs(bench.part, {name: value[:1] for name, value in inputs.items()})
        same({name: value[:1] for name, value in outputs.items()}, alone, "without the other samples of the batch")


@law("drop `detach`, `no_grad` and unused layers, or set requires_grad to False for what is not to learn")
def gradients(bench: ModuleBench) -> None:
    """A gradient reaches each parameter that asks for one, and each input of real numbers."""
    part = bench.build()
    inputs = {
        name: value.requires_grad_() if value.is_floating_point() else value for name, value in bench.inputs().items()
    }
    with torch.enable_grad():
        outputs = [value for value in bench.run(part, inputs).values() if value.is_floating_point()]
        if not all(value.requires_grad for value in outputs):
            raise LawError("an output has no graph")
        generator = torch.Generator().manual_seed(0)
        total = cast(Tensor, sum((value * torch.randn(value.shape, generator=generator)).sum() for value in outputs))
        total.backward()
    missing = [name for name, value in part.named_parameters() if value.requires_grad and value.grad is None]
    missing += [name for name, value in inputs.items() if value.requires_grad and value.grad is None]
    if missing:
        raise LawError(f"no gradient reaches {', '.join(missing[:5])}" + (", …" if len(missing) > 5 else ""))


@law("branch on shapes and settings only, never on the values of tensors")
def compiles(bench: ModuleBench) -> None:
    """torch.compile traces the part, and the traced part gives the same outputs."""
    inputs = bench.inputs()
    torch.compiler.reset()
    compiled: Any = torch.compile(bench.part, backend="eager")
    try:
        outputs = bench.outputs(compiled, inputs)
    except Exception as error:
        raise LawError(one_line(error)) from error
    finally:
        torch.compiler.reset()
    same(bench.outputs(bench.part, inputs), outputs, "compiled and plain differ")


class _Positional(nn.Module):
    """Tensors to tensors, which is all that an exported program takes and returns."""

    def __init__(self, bench: ModuleBench, names: tuple[str, ...]) -> None:
        super().__init__()
        self.part = bench.part
        self._run, self._names = bench.run, names

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        return tuple(self._run(self.part, dict(zip(self._names, values, strict=True))).values())


@law("branch on shapes and settings only, and read sizes from `shape`; what cannot be traced goes out of forward")
def exports(bench: ModuleBench) -> None:
    """torch.export turns the part into a program that gives the same outputs."""
    inputs = bench.inputs()
    names = tuple(inputs)
    outputs = bench.outputs(bench.part, inputs)
    try:
        with torch.no_grad():
            program = torch.export.export(_Positional(bench, names), tuple(inputs.values()), strict=False)
            found = cast(tuple[Tensor, ...], program.module()(*inputs.values()))
    except Exception as error:
        raise LawError(one_line(error)) from error
    same(outputs, dict(zip(outputs, found, strict=True)), "exported and plain differ")


MODULE: tuple[Law, ...] = (facts, deterministic, inputs_kept, batch_order, gradients, compiles, exports)
"""The laws of every part that is a torch module."""
WITHOUT_GRADIENT = tuple(each for each in MODULE if each is not gradients)
