"""The laws of optimisers, schedules and observers."""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .bench import Bench, raised
from .law import LawError, law

STEPS = 20


class OptimizerBench(Bench):
    """An optimiser of a linear layer, a norm, and a layer that does not learn."""

    kind = "optimizer"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        torch.manual_seed(0)
        frozen = nn.Linear(4, 4).requires_grad_(False)
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), frozen)

    def given(self) -> dict[str, Any]:
        return {"model": self.layers}


@law("give the optimiser each parameter that asks for a gradient, once")
def parameters(bench: OptimizerBench) -> None:
    """It holds exactly the parameters that learn, at the stated learning rate."""
    held = [id(each) for group in bench.part.param_groups for each in group["params"]]
    learning = [id(each) for each in bench.layers.parameters() if each.requires_grad]
    if sorted(held) != sorted(learning):
        raise LawError(f"it holds {len(held)} parameters, but {len(learning)} learn")
    rates = {float(group["lr"]) for group in bench.part.param_groups}
    if max(rates) != bench.spec.learning_rate:
        raise LawError(f"its highest learning rate is {max(rates)}, but the spec states {bench.spec.learning_rate}")


@law("derive it from torch.optim.Optimizer, and scale each update by the group's `lr`")
def steps(bench: OptimizerBench) -> None:
    """A step lowers a loss, and a learning rate of 0 leaves everything as it is."""
    optimizer: Any = bench.build()
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise LawError(f"build returns {type(optimizer).__name__}, which is no torch.optim.Optimizer")
    before = {name: value.clone() for name, value in bench.layers.state_dict().items()}
    inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))

    def update(rate: float | None) -> float:
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] if rate is None else rate
        loss = (bench.layers(inputs) - inputs).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    update(0.0)
    moved = [name for name, value in bench.layers.state_dict().items() if not torch.equal(before[name], value)]
    if moved:
        raise LawError(f"at a learning rate of 0 it changes {', '.join(moved)}")
    losses = [update(1e-2) for _ in range(STEPS)]
    bench.layers.load_state_dict(before)
    if not losses[-1] < losses[0]:
        raise LawError(f"after {STEPS} updates the loss is {losses[-1]:.3g}, from {losses[0]:.3g}")


OptimizerBench.laws = (parameters, steps)


class ScheduleBench(Bench):
    """A schedule of a short run."""

    kind = "schedule"

    def given(self) -> dict[str, Any]:
        return {"steps": STEPS}

    def factors(self, part: Any) -> list[float]:
        """The factor at each step."""
        return [float(part(step)) for step in range(STEPS)]

    def equal(self, one: Any, other: Any) -> bool:
        return super().equal(one, other) and self.factors(one) == self.factors(other)


@law("compute the factor from the step alone: a run that resumes asks for any step first")
def factors(bench: ScheduleBench) -> None:
    """Each step has one finite factor from 0 up, whatever was asked before."""
    found = bench.factors(bench.part)
    if not all(math.isfinite(factor) and factor >= 0 for factor in found):
        raise LawError(f"the factors are {found}")
    if not any(found):
        raise LawError(f"all {STEPS} factors are 0")
    if found[::-1] != [float(bench.part(step)) for step in range(STEPS - 1, -1, -1)]:
        raise LawError("the factors are others when asked for in another order")


ScheduleBench.laws = (factors,)


class ObserverBench(Bench):
    """An observer of a run in an empty folder."""

    kind = "observer"

    def given(self) -> dict[str, Any]:
        return {"folder": Path(tempfile.gettempdir())}


@law("take `begin(step=, steps=)`, `stepped(record)`, `evaluated(record)` and `end()`, and only read the records")
def watches(bench: ObserverBench) -> None:
    """It sees a run from beginning to end, twice, and changes nothing of it."""
    record = {"step": 1, "stream": "paired", "loss": 2.0, "loss/itm": 2.0, "learning_rate": 1e-3}
    record |= {"images": 4, "seconds": 0.1, "data_share": 0.5}
    measured = {"step": 1, "retrieval/image_to_text/top1": 0.5}
    before = dict(record), dict(measured)
    state = torch.get_rng_state()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        for begun in (0, 1):  # a run, and the same run resumed
            observer = bench.spec.build(folder=Path(folder))
            for name, call in (
                ("begin", lambda observer=observer, begun=begun: observer.begin(step=begun, steps=2)),
                ("stepped", lambda observer=observer: observer.stepped(record)),
                ("evaluated", lambda observer=observer: observer.evaluated(measured)),
                ("end", lambda observer=observer: observer.end()),
            ):
                error = raised(call)
                if error is not None:
                    raise LawError(f"{name} raises {error}")
    if before != (record, measured):
        raise LawError("it wrote into a record")
    if not torch.equal(state, torch.get_rng_state()):
        raise LawError("it draws from torch's global generator, which changes the run")


ObserverBench.laws = (watches,)
