"""A signal to one of several processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from distributed.processes import launched
from runs import tiny_run

from flava_parts.train.checkpoints.loading import newest_checkpoint
from flava_parts.train.run import Outcome, run

STEPS = 200


def work(rank: int, folder: Path) -> Outcome:
    """A run whose second process is told to stop after two steps."""
    if rank:
        threading.Thread(target=stop_after_two, args=(folder / "metrics.jsonl",), daemon=True).start()
    return run(tiny_run("evaluate.retrieval=null", steps=STEPS), folder, log=lambda _: None)


def stop_after_two(metrics: Path) -> None:
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 2:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGUSR1)


def test_a_signal_to_one_process_stops_all_at_the_same_step(tmp_path: Path) -> None:
    """With a checkpoint of it, and both know why."""
    first, second = launched(work, 2, tmp_path)

    assert 2 <= first.step < STEPS
    assert first == second
    assert (False, signal.SIGUSR1) == (first.complete, first.signal)
    newest = newest_checkpoint(tmp_path / "checkpoints")
    assert newest is not None
    assert f"step-{first.step:08d}" == newest.name
