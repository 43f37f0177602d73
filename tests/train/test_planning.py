"""The planner's figures, against what a training step really allocates, and against each other."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from flava_parts.compose import compose
from flava_parts.errors import InputError
from flava_parts.loading import load_spec
from flava_parts.train.blocks import forget, recompute
from flava_parts.train.distribution import Parallel, spread
from flava_parts.train.planning import Plan, largest_batch, most_within, plans, simulate
from flava_parts.train.precision import Choice, Precision, keep_exact

ROWS, WORDS = 64, 32
WIDER = ("image_encoder.width=128", "text_encoder.width=128", "fusion.width=128", "text_encoder.depth=4")
"""A model whose weights count."""


def measured_peak(
    rank: int, parallel: Parallel, *, again: bool, precision: Choice, rows: int = ROWS, changes: tuple[str, ...] = ()
) -> int:
    """The most bytes that torch's allocator gave out at once, by the profiler, in steps over every kind of batch."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        torch.manual_seed(0)
        model = compose(load_spec("flava.tiny", set=list(changes)))
        trained = spread(model, parallel)
        if precision != "fp32":
            keep_exact(model)
        if again:
            recompute(model)
        else:
            forget(model)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)
        pairs = {
            "pixel_values": torch.randn(rows, 3, 32, 32),
            "input_ids": torch.randint(1000, 2000, (rows, WORDS)),
            "mim_labels": torch.randint(64, (rows, 16)),
        }
        batch = model.mask(pairs, torch.Generator().manual_seed(0))
        images = {name: batch[name][:2] for name in ("pixel_values", "mim_labels", "bool_masked_pos")}
        texts = {name: batch[name][:2] for name in ("input_ids", "input_ids_masked", "mlm_labels")}
        for each in (images, texts, batch, batch):  # so that all averages are there
            optimizer.zero_grad()
            with Precision(precision, keep_casts=not again).autocast():
                output = trained.forward(**each, output_states=False)
            output.loss.backward()
            del output
            optimizer.step()
    result: Any = profiled.profiler
    events = [event for event in result.kineto_results.events() if event.name() == "[memory]"]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(itertools.accumulate(sizes))


@pytest.fixture(scope="module")
def alone() -> list[Plan]:
    return list(plans(load_spec("flava.tiny"), gpus=1, batch_size=ROWS, words=WORDS))


@pytest.mark.parametrize(("again", "precision"), [(False, "fp32"), (True, "fp32"), (True, "bf16")])
def test_memory_is_within_15_percent_of_what_a_step_allocates(again: bool, precision: Choice) -> None:
    found = plans(load_spec("flava.tiny"), gpus=1, batch_size=ROWS, words=WORDS, precision=precision)
    plan = next(plan for plan in found if plan.parallel == "ddp" and plan.recompute is again)

    assert pytest.approx(measured_peak(0, "ddp", again=again, precision=precision), rel=0.15) == plan.peak


def test_what_is_recomputed_is_not_kept() -> None:
    """Deeper by two blocks of each kind is hardly more: what goes into a block, for each pass, and its weights."""
    (shallow, deep) = (
        simulate(compose(spec, device="meta"), spec, rows=ROWS, words=WORDS, again=True)
        for spec in (load_spec("flava.tiny"), load_spec("flava.tiny", set=["text_encoder.depth=4"]))
    )
    kept = 2 * 2 * ROWS * WORDS * 32 * 4  # two more blocks, a clean and a masked pass, of width 32

    assert kept <= deep.peak - shallow.peak <= 2 * kept


def test_recomputing_takes_less_memory_and_more_operations(alone: list[Plan]) -> None:
    kept, again = (plan for plan in alone if plan.parallel == "ddp")

    assert kept.peak > again.peak
    assert kept.operations < again.operations
    assert kept.communication == again.communication == 0


def test_shards_take_their_share() -> None:
    """On 4 GPUs in groups of 2: weights and averages, and what a ring sends."""
    found = list(plans(load_spec("flava.tiny"), gpus=4, batch_size=16, shard_ranks=2))
    ddp, fsdp, hybrid = found[:3]
    trained = ddp.memory["optimizer"] // 2

    assert ["ddp", "fsdp", "hybrid"] == [plan.parallel for plan in found[:3]]
    assert [2 * trained, trained // 2, trained] == [plan.memory["optimizer"] for plan in found[:3]]
    assert ddp.memory["weights"] > hybrid.memory["weights"] > fsdp.memory["weights"]
    assert fsdp.communication > ddp.communication > 2 * trained * 3 // 4  # an all-reduce is a scatter and a gather


def test_a_batch_that_cannot_be_shared_is_an_error() -> None:
    with pytest.raises(InputError, match="a batch of 10 cannot be shared by 4 GPUs; make it a multiple of 4"):
        plans(load_spec("flava.tiny"), gpus=4, batch_size=10)


def test_explain_prints_the_plan(run: Any) -> None:
    code, out, _ = run("explain", "flava.tiny", "--gpus", "2", "--memory", "80GiB", "--batch-size", "4", "--json")
    found = json.loads(out)

    assert 0 == code
    assert {"batch_size": 4, "gpus": 2, "memory": 80 * 2**30, "precision": "fp32"} == {
        name: found[name] for name in found if name != "plans"
    }
    assert all(plan["fits"] and plan["peak"] == sum(plan["memory"].values()) for plan in found["plans"])


@pytest.mark.parametrize("size", ["80", "lots", "-1GiB", "GiB", "nanGB"])
def test_a_memory_that_is_no_size_is_an_error(run: Any, size: str) -> None:
    code, _, err = run("explain", "flava.tiny", "--gpus", "2", f"--memory={size}")

    assert (2, True) == (code, f"--memory {size}: is no size; write it like 80GiB" in err)


def test_the_largest_batch_fits_and_one_pair_more_does_not() -> None:
    """By the same counting as the plans."""
    spec = load_spec("flava.tiny")
    kept, again = (plan.peak for plan in plans(spec, gpus=1, batch_size=10, words=WORDS) if plan.parallel == "ddp")

    assert 10 == largest_batch(spec, memory=kept, words=WORDS)
    assert 9 == largest_batch(spec, memory=again - 1, again=True, words=WORDS)


@given(
    start=st.integers(0, 10_000),
    growth=st.lists(st.integers(0, 1_000), min_size=1, max_size=20),
    limit=st.integers(0, 50_000),
)
def test_the_most_within_a_limit_is_found_whatever_grows(start: int, growth: list[int], limit: int) -> None:
    """Where cost stands still for a while too; the last growth goes on for ever."""

    def cost(number: int) -> int:
        more = [*growth[:number], *[growth[-1] + 1] * (number - len(growth))]
        return start + sum(more)

    found = most_within(cost, limit)

    assert found == 0 or (found >= 2 and cost(found) <= limit)
    assert cost(max(found + 1, 2)) > limit


@given(first=st.integers(0, 10**9), each=st.integers(1, 10**9), most=st.integers(2, 10**5))
def test_a_few_trials_find_the_most_of_what_grows_evenly(first: int, each: int, most: int) -> None:
    tried: list[int] = []

    def cost(number: int) -> int:
        tried.append(number)
        return first + each * number

    assert most == most_within(cost, first + each * most)
    assert len(tried) <= 8


def test_explain_says_how_many_pairs_fit(run: Any) -> None:
    code, out, _ = run("explain", "flava.tiny", "--fit", "--memory", "64MiB", "--json")
    found = json.loads(out)

    assert (0, 64 * 2**20) == (code, found["memory"])
    assert 0 < found["kept"] <= found["recomputed"]
    assert "pairs a batch" in run("explain", "flava.tiny", "--fit", "--memory", "1MiB")[1]
