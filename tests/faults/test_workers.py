"""Workers over a long time: many of them, one that hangs, and memory that does not grow."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import numpy as np
import pytest
from data.made_up import MadeUpSpec
from data.test_loader import MODEL, assert_equal
from data.test_loading import data, loading

from flava_parts.data.loader import Batches
from flava_parts.data.loading import Loading, WorkerError

MEASURED = range(6000, 20_001, 2000)
"""Steps after which memory is looked at; before them caches fill."""


@pytest.mark.parametrize(
    ("workers", "prefetch", "start_method"), [(2, 4, "spawn"), (4, 1, "forkserver"), (4, 4, "spawn")]
)
def test_workers_change_nothing(tmp_path: Path, workers: int, prefetch: int, start_method: str) -> None:
    """As in the default suite, with more of them."""
    alone = Batches(data=data(), model=MODEL, batch_size=16, seed=0)
    spec = data(workers=workers, prefetch=prefetch, start_method=start_method)
    with loading(spec, tmp_path, steps=24) as found:
        for step in range(24):
            assert_equal(alone.batch(step), found.batch(step))


def test_a_stuck_worker_is_named(tmp_path: Path) -> None:
    """Within the timeout, and the seconds that torch waits for those it ends."""
    spec = data(MadeUpSpec(size=200, fatal=123, how="hang"), workers=2, prefetch=1, timeout=30.0)
    children = set(multiprocessing.active_children())
    began: list[float] = []

    def read(step: int) -> None:
        began.append(time.monotonic())
        found.batch(step)

    with loading(spec, tmp_path, steps=40) as found, pytest.raises(WorkerError) as caught:
        list(map(read, range(40)))

    named = "a worker is still reading sample 123 of stream pairs (made-up-1.tar: 000023), for update"
    assert named in str(caught.value)
    assert time.monotonic() - began[-1] < 30 + 20
    assert children == set(multiprocessing.active_children())


def memory(process: int) -> float:
    """Resident memory of a process in MB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096 / 1e6


def test_memory_does_not_grow(tmp_path: Path) -> None:
    """Less than 1 MB for 1,000 steps, over 20,000, of this process and of each worker."""
    before = set(multiprocessing.active_children())
    spec = data(workers=2)
    batches = Batches(data=spec, model=MODEL, batch_size=2, seed=0)
    found: dict[int, list[float]] = {}
    with Loading(batches, spec, folder=tmp_path, first=0, steps=MEASURED[-1] + 1) as batch_of:
        for step in range(MEASURED[-1] + 1):
            batch_of.batch(step)
            if step in MEASURED:
                processes = [child.pid for child in set(multiprocessing.active_children()) - before]
                for process in (0, *processes):
                    found.setdefault(process, []).append(memory(process or multiprocessing.current_process().pid))

    assert 3 == len(found)
    for process, sizes in found.items():
        slope = float(np.polyfit(np.array(MEASURED) / 1000, sizes, 1)[0])
        print(f"{process or 'main'}: {slope:.3f} MB for 1,000 steps, {sizes[-1]:.0f} MB")
        assert slope < 1
