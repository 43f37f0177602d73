"""The planner's figures for several processes, against what each of them really allocates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from distributed.processes import in_ranks
from train.test_planning import WIDER, WORDS, measured_peak

from flava_parts.loading import load_spec
from flava_parts.train.distribution import Parallel
from flava_parts.train.planning import plans
from flava_parts.train.precision import Choice

ROWS = 16


def work(rank: int, parallel: Parallel, again: bool, precision: Choice) -> int:
    return measured_peak(rank, parallel, again=again, precision=precision, rows=ROWS, changes=WIDER)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("again", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_memory_of_each_rank_is_within_15_percent(parallel: Parallel, again: bool, precision: Choice) -> None:
    spec = load_spec("flava.tiny", set=list(WIDER))
    found = plans(spec, gpus=2, batch_size=2 * ROWS, words=WORDS, precision=precision)
    (plan,) = (plan for plan in found if plan.parallel == parallel and plan.recompute is again)

    for peak in in_ranks(work, 2, parallel, again, precision):
        assert pytest.approx(peak, rel=0.15) == plan.peak


def test_the_guides_table_is_what_explain_says() -> None:
    """Of the smallest preset; the others take minutes."""
    guide = Path(__file__).parents[2] / "docs" / "guide" / "distributed.md"
    (row,) = re.findall(r"^\| `flava.base` \|(.*)\|$", guide.read_text(encoding="utf-8"), re.MULTILINE)
    found = plans(load_spec("flava.base"), gpus=64, batch_size=2048, precision="bf16")
    kept, again = (plan for plan in found if plan.parallel == "fsdp")
    numbers = (kept.peak / 1e9, again.peak / 1e9, kept.operations / 1e12, again.operations / 1e12)

    assert pytest.approx([*numbers, kept.communication / 1e9], rel=0.01) == [
        float(cell.split()[0]) for cell in row.split("|")
    ]
