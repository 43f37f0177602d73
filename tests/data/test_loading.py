"""Workers change nothing but the time; a dead or stuck one ends the run with its name, and none outlives it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from data.made_up import MadeUpSpec
from data.test_loader import MODEL, assert_equal

from flava_parts.data.loader import Batches
from flava_parts.data.loading import Loading, WorkerError
from flava_parts.data.sources.bad_sample import BadSampleError
from flava_parts.data.sources.specs import GlossesSpec
from flava_parts.data.specs import BadSpec, DataSpec, StreamSpec

SOURCE = MadeUpSpec(size=200, bad_every=20)


def data(source: MadeUpSpec = SOURCE, **more: object) -> DataSpec:
    streams = {
        "pairs": StreamSpec(source=source, bucket=2),
        "texts": StreamSpec(source=GlossesSpec(), use="texts", bucket=2, ratio=0.3),
    }
    return DataSpec(streams=streams, **{"bad": BadSpec(rate=1.0), **more})


def loading(spec: DataSpec, folder: Path, *, first: int = 0, steps: int = 12) -> Loading:
    batches = Batches(data=spec, model=MODEL, batch_size=16, seed=0)
    return Loading(batches, spec, folder=folder, first=first, steps=steps)


@pytest.fixture(scope="module")
def expected():
    """What this process makes on its own."""
    batches = Batches(data=data(), model=MODEL, batch_size=16, seed=0)
    return [batches.batch(step) for step in range(12)]


@pytest.mark.parametrize(
    ("workers", "prefetch", "start_method"), [(0, 1, "spawn"), (1, 4, "spawn"), (2, 1, "forkserver")]
)
def test_workers_change_nothing(expected, tmp_path: Path, workers: int, prefetch: int, start_method) -> None:
    """Batches bit for bit, their metrics, and what is told of bad samples; torch's generator stays; nobody is left."""
    before, children = torch.get_rng_state(), set(multiprocessing.active_children())
    spec = data(workers=workers, prefetch=prefetch, start_method=start_method)
    with loading(spec, tmp_path, first=2) as found:
        for step in range(2, 12):
            assert_equal(expected[step], found.batch(step))

    assert torch.equal(before, torch.get_rng_state())
    assert children == set(multiprocessing.active_children())
    lines = (tmp_path / "bad_samples.jsonl").read_text().splitlines()
    assert sum(len(batch.bad) for batch in expected[2:]) == len(lines) > 5


def test_a_dead_worker_is_named(tmp_path: Path) -> None:
    """Long before the timeout; with shard and key of what it read."""
    spec = data(MadeUpSpec(size=200, fatal=123, how="die"), workers=2, prefetch=1)
    children = set(multiprocessing.active_children())
    with loading(spec, tmp_path, steps=40) as found, pytest.raises(WorkerError) as caught:
        list(map(found.batch, range(40)))

    named = (
        "a worker was killed by SIGKILL while reading sample 123 of stream pairs (made-up-1.tar: 000023), for update"
    )
    assert named in str(caught.value)
    assert children == set(multiprocessing.active_children())


@pytest.mark.parametrize("start_method", ["spawn", "forkserver"])
def test_the_end_of_a_worker_waits_for_the_next_batch(tmp_path: Path, start_method: str) -> None:
    """It breaks into nothing that the run does meanwhile, and is told soon, long before the timeout: a worker of the
    forkserver is no child of this process, so that no signal tells of its end."""
    before = set(multiprocessing.active_children())
    spec = data(workers=2, prefetch=1, start_method=start_method)
    with loading(spec, tmp_path, steps=1000) as found:
        found.batch(0)
        worker, *_ = set(multiprocessing.active_children()) - before
        os.kill(worker.pid, signal.SIGKILL)
        until = time.monotonic() + 1
        while time.monotonic() < until:
            torch.ones(10).sum()  # an update: where an error would come if torch told of it
        with pytest.raises(WorkerError, match="a worker was killed by SIGKILL "):
            list(map(found.batch, range(1, 1000)))

    assert time.monotonic() < until + 30
    assert before == set(multiprocessing.active_children())


def test_workers_leave_signals_to_the_run(tmp_path: Path) -> None:
    """What stops a run may reach every process of its group; the workers go on, and end with the context."""
    before = set(multiprocessing.active_children())
    with loading(data(workers=2, prefetch=1), tmp_path) as found:
        found.batch(0)
        workers = set(multiprocessing.active_children()) - before
        for worker in workers:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                os.kill(worker.pid, number)
        for step in range(1, 12):
            found.batch(step)

    assert 2 == len(workers)
    assert before == set(multiprocessing.active_children())


FORKSERVER = """
import multiprocessing, signal, sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from data.test_loading import data, loading

if __name__ == "__main__":
    with loading(data(workers=1, start_method="forkserver"), Path(sys.argv[1])) as found:
        found.batch(0)
    with ProcessPoolExecutor(1, multiprocessing.get_context("forkserver")) as pool:
        print(pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result())
"""


def test_signals_reach_what_a_forkserver_starts_later(tmp_path: Path) -> None:
    """It is one for the whole process, and would hand on that it was started while signals were held back."""
    (tmp_path / "script.py").write_text(FORKSERVER)
    printed = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "set()" == printed.strip()


def test_an_error_keeps_its_type_and_its_words(tmp_path: Path) -> None:
    """As it would come from this process: one line, not a worker's traceback."""
    with (
        loading(data(workers=1, on_error="raise"), tmp_path) as found,
        pytest.raises(BadSampleError, match=r"^made-up: \d+ is [a-z0-9-]+$") as caught,
    ):
        list(map(found.batch, range(12)))

    assert "made-up" == caught.value.source


def test_a_quarantine_outlives_the_run(tmp_path: Path) -> None:
    """Each bad sample is one line, however often it comes; a resumed run knows them, and its batches are the same."""
    spec = data(on_error="quarantine")
    with loading(spec, tmp_path, steps=30) as found:
        first = [found.batch(step) for step in range(30)]
    lines = (tmp_path / "bad_samples.jsonl").read_text()
    with loading(spec, tmp_path, first=30, steps=36) as found:
        list(map(found.batch, range(30, 36)))
        known = {bad.sample for bad in found._batches.reader.quarantined}

    assert {1, 21, 41, 61, 81, 101, 121, 141, 161, 181} == known
    assert 10 == len(lines.splitlines())
    assert lines == (tmp_path / "bad_samples.jsonl").read_text()
    counts = Counter(bad.sample for batch in first for bad in batch.bad)
    assert min(counts.values()) >= 2


ABANDONED = """
import os, sys
from pathlib import Path
from data.made_up import MadeUpSpec
from data.test_loading import data, loading

if __name__ == "__main__":
    import multiprocessing

    with loading(data(workers=2), Path(sys.argv[1])) as found:
        found.batch(0)
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        os._exit(9)
"""


def test_workers_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    """Though nobody can tell them."""
    script = tmp_path / "abandoned.py"
    script.write_text(ABANDONED)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    result = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, env=environment, timeout=300
    )
    workers = list(map(int, result.stdout.split()))

    assert (9, 2) == (result.returncode, len(workers)), result.stderr
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{worker}/cmdline").exists() for worker in workers):
        assert time.monotonic() < deadline, "a worker is still there"
        time.sleep(0.5)
