"""What a training can be told, by several processes as by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.distributed as dist
from distributed.batches import ROWS, batches, tiny_model
from distributed.processes import in_ranks
from numpy.typing import NDArray
from torch import nn
from torch.distributed.tensor import DTensor

from flava_parts.data.loader import Batch
from flava_parts.errors import InputError
from flava_parts.train import precision
from flava_parts.train.beginning import new_state
from flava_parts.train.checkpoints.saving import Checkpoints
from flava_parts.train.course import Course
from flava_parts.train.distribution import spread
from flava_parts.train.interruption import Interruption
from flava_parts.train.loop import State, train
from flava_parts.train.ranks import FirstFailedError, GlooRanks, OneProcess, Ranks
from flava_parts.train.specs import AdamWSpec, ConstantSpec, MuonSpec, PretrainTrainSpec

Arrays = dict[str, NDArray[Any]]
MUON = MuonSpec(learning_rate=1e-3)
SETTINGS: dict[str, dict[str, Any]] = {
    "kept": {"grad_cache": True, "accumulate": 2, "freeze_until": {"image_encoder": 2, "fusion": 3}, "ema": 0.5},
    "recomputed": {"recompute": True, "compile": True, "clip_norm": 1.0},
    "proposed": {"optimizer": MUON},
    "wrong": {},
    "auto": {"precision": "auto"},
    "fp16": {"precision": "fp16"},
    "all": {
        "grad_cache": True,
        "accumulate": 2,
        "freeze_until": {"image_encoder": 2},
        "ema": 0.5,
        "recompute": True,
        "optimizer": MUON,
    },
}
"""What is told, by the name of the case; in ``proposed`` and ``wrong`` an observer asks for other weights of losses."""
TOLERANCE = {"kept": 1e-5, "recomputed": 1e-5, "proposed": 1e-4, "all": 1e-4, "auto": 1e-2}
"""How much losses may differ, relatively: Muon and bf16 round to eight bits."""
STEPS: tuple[tuple[str, tuple[str, ...] | None], ...] = (
    ("pairs", None),
    ("images", None),
    ("pairs", ("mmm_text", "itm")),  # a stream that names its losses
    ("pairs", None),
    ("texts", None),
)
"""The batches of a training, and the losses to compute on each."""


@dataclass
class Watching:
    """An observer that keeps all records, and whole weights and averages."""

    state: State
    records: list[dict[str, Any]] = field(default_factory=list)
    weights: list[Arrays] = field(default_factory=list)
    averages: list[Arrays] = field(default_factory=list)
    scales: list[float] = field(default_factory=list)

    def begin(self, *, step: int, steps: int) -> None: ...

    def stepped(self, record: Mapping[str, Any]) -> None:
        self.records.append(dict(record))
        self.weights.append(whole(self.state.model))
        if self.state.average is not None:
            self.averages.append(whole(self.state.average.module))
        self.scales.append(self.state.precision.scale(torch.ones(())).item())

    def evaluated(self, record: Any) -> None: ...

    def end(self) -> None: ...


class Proposing(Watching):
    """One that halves the contrastive weight, or proposes what is no factor."""

    factor = 0.5

    def propose(self) -> Mapping[str, float]:
        return {"global_contrastive": self.factor, "itm": 2.0}


@dataclass
class Nowhere:
    """Checkpoints that are not kept."""

    ranks: Ranks
    folder: Path = Path("nowhere")

    def save(self, *_: Any) -> Path:
        return self.folder


def whole(model: nn.Module) -> Arrays:
    """The parameters, whole, with at least one dimension."""
    found = {name: each.full_tensor() if isinstance(each, DTensor) else each for name, each in model.named_parameters()}
    return {name: np.atleast_1d(each.detach().numpy().copy()) for name, each in found.items()}


def training(parallel: Any, shard_ranks: int | None, case: str) -> Watching | str:
    """A run of a step for each of `STEPS`, with the settings of a case; or what it failed with."""
    ranks = GlooRanks() if dist.is_initialized() else OneProcess()
    spec = PretrainTrainSpec(
        steps=len(STEPS), parallel=parallel, shard_ranks=shard_ranks, schedule=ConstantSpec(), spike=None
    ).model_copy(update={"optimizer": AdamWSpec(learning_rate=1e-2)} | SETTINGS[case])
    model = tiny_model()
    assert model.spec is not None
    course = Course(model.spec, {}, steps=spec.steps)
    state = new_state(model, spec, course=course, ranks=ranks, say=lambda _: None)
    asks = case in ("proposed", "wrong") and ranks.rank == 0
    watching = Proposing(state) if asks else Watching(state)
    if case == "wrong" and asks:
        watching.factor = -1.0  # pyright: ignore[reportAttributeAccessIssue]

    def batch_of(step: int) -> Batch:
        kind, losses = STEPS[step]
        rows = ROWS // ranks.size
        own = {name: tensor[ranks.rank * rows :][:rows] for name, tensor in batches()[kind].items()}
        return Batch(kind, losses, own)

    checkpoints = cast(Checkpoints, Nowhere(ranks))
    try:
        train(state, batch_of, spec, [watching], checkpoints, Interruption(alone=ranks.size == 1))
    except (InputError, FirstFailedError) as error:
        return f"{type(error).__name__}: {error}"
    watching.state = cast(State, None)  # it stays in its process
    return watching


def work(rank: int, cases: list[tuple[str, int | None, str]]) -> list[Any]:
    """Each case, a training by all ranks; and at last an overflow in one of them."""
    # Inductor takes half a minute, and is the same for all; what it would be given is what matters here.
    torch_compile = nn.Module.compile
    nn.Module.compile = lambda module: torch_compile(module, backend="eager")
    # The first process finds bf16 faster, the other float32.
    precision.product_seconds = lambda dtype, device: rank if dtype == torch.bfloat16 else 0.5
    return [*(training(*case) for case in cases), overflowing(rank)]


def overflowing(rank: int) -> tuple[bool, float]:
    """Whether an update of a cut model is made if one rank's part of the gradient is infinite; and the scale then."""
    model = nn.Linear(4, 4)
    spread(model, "fsdp")
    model(torch.ones(1, 4)).sum().backward()
    local = cast(DTensor, model.weight.grad).to_local()
    local.fill_(torch.inf if rank else 1.0)
    scaled = precision.Precision("fp16")
    scaled.scale(torch.ones(()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaled.unscale(optimizer)
    return scaled.step(optimizer), scaled.scale(torch.ones(())).item()


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """Each case by one process; bf16 where several choose it."""
    return by_one_process()


def by_one_process() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "product_seconds", lambda dtype, device: float(dtype == torch.float32))
        patch.setattr(nn.Module, "compile", lambda module: None)
        return {case: training("ddp", None, case) for case in SETTINGS}


def by_several(parallel: str, size: int, shard_ranks: int | None, cases: list[str]) -> list[dict[str, Any]]:
    """The same, case by case, on each rank."""
    found = in_ranks(work, size, [(parallel, shard_ranks, case) for case in cases])
    return [dict(zip([*cases, "overflowing"], of_rank, strict=True)) for of_rank in found]


def assert_alike(alone: dict[str, Any], ranks: list[dict[str, Any]], cases: list[str]) -> None:
    """What every case is for."""
    for case in TOLERANCE.keys() & cases:
        for rank in ranks:
            assert_follows(alone[case], rank[case], TOLERANCE[case])
    for rank in ranks:
        if "kept" in cases:
            assert_frozen(rank["kept"])
        if "proposed" in cases:
            weights = [each["value/losses.global_contrastive.weight"] for each in rank["proposed"].records[1:]]
            assert [0.5] * (len(STEPS) - 1) == weights
    if "wrong" in cases:
        said = "InputError: Proposing proposes global_contrastive: -1.0; a factor is finite and not negative"
        assert [said, *["FirstFailedError: the first process failed"] * (len(ranks) - 1)] == [r["wrong"] for r in ranks]
    if "fp16" in cases:
        assert_overflow_is_shared(alone["fp16"], [rank["fp16"] for rank in ranks])
    assert {(False, 32768.0)} == {rank["overflowing"] for rank in ranks}


def assert_follows(alone: Watching, rank: Watching, tolerance: float) -> None:
    """The losses and norms of one process, step by step; and an average that follows the weights."""
    for record, other in zip(alone.records, rank.records, strict=True):
        assert record.keys() == other.keys()
        assert pytest.approx(record["loss"], rel=tolerance) == other["loss"]
        assert pytest.approx(record["gradient_norm"], rel=10 * tolerance) == other["gradient_norm"]
    assert len(alone.averages) == len(rank.averages)
    mean = rank.weights[0]
    for weights, average in zip(rank.weights, rank.averages, strict=False):
        mean = {name: mean[name] + 0.5 * (weight - mean[name]) for name, weight in weights.items()}
        assert all(np.allclose(mean[name], weight, rtol=1e-6, atol=1e-8) for name, weight in average.items())


def assert_frozen(rank: Watching) -> None:
    """The image encoder stays as it was, to the last bit, for two steps."""
    changed = [
        {name.partition(".")[0] for name, weight in before.items() if not np.array_equal(weight, after[name])}
        for before, after in zip(rank.weights, rank.weights[1:], strict=False)
    ]

    assert "image_encoder" not in changed[0]
    assert "image_encoder" in changed[1]


def assert_overflow_is_shared(alone: Watching, ranks: list[Watching]) -> None:
    """Whichever overflows, all leave the update out and halve the scale; their weights stay the same."""
    first = ranks[0]

    assert pytest.approx(alone.records[0]["loss"], rel=1e-5) == first.records[0]["loss"]
    assert 65536 > first.scales[0]
    for rank in ranks[1:]:
        assert first.scales == rank.scales
        assert all(np.array_equal(weight, rank.weights[-1][name]) for name, weight in first.weights[-1].items())


@pytest.mark.parametrize(("parallel", "cases"), [("ddp", [*SETTINGS][:-1]), ("fsdp", ["all"])], ids=["ddp", "fsdp"])
def test_several_processes_do_what_one_does(alone: dict[str, Any], parallel: str, cases: list[str]) -> None:
    """GradCache, frozen parts and averages; recomputed and compiled blocks; Muon, and weights of losses that an
    observer proposes; bf16, where the first process finds it faster; fp16."""
    assert_alike(alone, by_several(parallel, 2, None, cases), cases)
