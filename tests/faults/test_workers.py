"""Workers over a long time: many of them, one that hangs, and memory that does not grow."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from data.made_up import MadeUpSpec
from data.sources.test_stores import PICTURE, served
from data.test_loader import MODEL, assert_equal
from data.test_loading import data, loading
from tars import write_tar

from flava_parts.data.loader import Batches
from flava_parts.data.loading import Loading, WorkerError
from flava_parts.data.sources.shard_index import write_index
from flava_parts.data.sources.specs import ShardsSpec
from flava_parts.data.specs import DataSpec, StreamSpec

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


@pytest.mark.parametrize("workers", [0, 2])
def test_memory_does_not_grow(tmp_path: Path, workers: int) -> None:
    """Less than 1 MB for 1,000 steps, over 20,000, of this process, whose thread reads if no worker does, and of each
    worker."""
    before = set(multiprocessing.active_children())
    spec = data(workers=workers)
    batches = Batches(data=spec, model=MODEL, batch_size=2, seed=0)
    found: dict[int, list[float]] = {}
    with Loading(batches, spec, folder=tmp_path, first=0, steps=MEASURED[-1] + 1) as batch_of:
        for step in range(MEASURED[-1] + 1):
            batch_of.batch(step)
            if step in MEASURED:
                processes = [child.pid for child in set(multiprocessing.active_children()) - before]
                for process in (0, *processes):
                    found.setdefault(process, []).append(memory(process or multiprocessing.current_process().pid))

    assert 1 + workers == len(found)
    for process, sizes in found.items():
        slope = float(np.polyfit(np.array(MEASURED) / 1000, sizes, 1)[0])
        print(f"{process or 'main'}: {slope:.3f} MB for 1,000 steps, {sizes[-1]:.0f} MB")
        assert slope < 1


PLUGIN = """
from typing import Literal

import numpy as np
import torch
from flava_parts import hookimpl
from flava_parts.data.sources.sample import Sample
from flava_parts.data.sources.specs import SourceSpec
from flava_parts.maskers.specs import ImageMaskerSpec


class Greys:
    def __len__(self):
        return 64

    def sample(self, index, generator=None):
        return Sample(str(index), np.full((16, 16, 3), index, np.uint8), f"grey {index}")


class GreysSpec(SourceSpec):
    type: Literal["acme.greys"] = "acme.greys"

    @property
    def provides(self):
        return frozenset({"image", "text"})

    def build(self):
        return Greys()


class LowerHalfSpec(ImageMaskerSpec):
    type: Literal["acme.lower_half"] = "acme.lower_half"
    total: int = 8

    def build(self, *, grid):
        hidden = torch.arange(grid.size) >= grid.size - self.total
        return lambda batch, generator: hidden.expand(batch, -1)


@hookimpl
def flava_parts_specs():
    return [GreysSpec, LowerHalfSpec]
"""
RUN = """
base: flava.emoji
model: {image_masker: {type: acme.lower_half}}
data:
  streams: {aligned: null, images: null, texts: null, paired: {source: {type: acme.greys}, batch_size: 8}}
train: {steps: 3, checkpoint_every: null}
evaluate: {retrieval: null}
observers: {jsonl: {type: flava.jsonl}}
"""


def test_parts_of_a_local_file_work_in_workers(tmp_path: Path) -> None:
    """A source and a masker of a .py file that is on nobody's path, by either start method, as without workers."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "greys.py").write_text(PLUGIN)
    (tmp_path / "run.yaml").write_text(RUN)
    program = str(Path(sys.executable).with_name("flava-parts"))
    losses = []
    for name, changes in (
        ("alone", []),
        ("spawn", ["data.workers=2"]),
        ("forkserver", ["data.workers=1", "data.start_method=forkserver"]),
    ):
        sets = [word for change in changes for word in ("--set", change)]
        done = subprocess.run(
            [program, "train", "run.yaml", "-p", "elsewhere/greys.py", "--out", name, *sets],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )
        assert 0 == done.returncode, done.stderr
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        losses.append([float(json.loads(line)["loss"]).hex() for line in lines])

    assert 3 == len(losses[0])
    assert losses[0] == losses[1] == losses[2]


def test_workers_read_shards_over_http(tmp_path: Path) -> None:
    """Each opens the store for itself."""
    members = {f"{index}.png": PICTURE for index in range(40)}
    members |= {f"{index}.txt": f"number {index}".encode() for index in range(40)}
    write_tar(tmp_path / "a.tar", members)
    write_index(f"{tmp_path}/a.tar")
    with served(tmp_path) as (address, _):
        streams = {"pairs": StreamSpec(source=ShardsSpec(shards=f"{address}/a.tar"))}
        alone = Batches(data=DataSpec(streams=streams), model=MODEL, batch_size=16, seed=0)
        expected = [alone.batch(step) for step in range(4)]
        with loading(DataSpec(streams=streams, workers=2), tmp_path, steps=4) as found:
            for step in range(4):
                assert_equal(expected[step], found.batch(step))
