"""Runs of several processes, started by torchrun."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from runs import TINY

from flava_parts.train.json_lines import read_metrics

STEPS = 12


def torchrun(
    folder: Path, size: int, *changes: str, steps: int = STEPS, restarts: int = 1, more: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """The tiny run by ``size`` processes of this machine, which may be started anew so often; ``more`` arguments."""
    sets = [word for change in (*TINY, f"train.steps={steps}", *changes) for word in ("--set", change)]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}", f"--max-restarts={restarts}"]
    launcher += ["--signals-to-handle=SIGTERM,SIGINT,SIGUSR1"]
    run = ["-m", "flava_parts", "train", "flava.emoji", "--out", str(folder), *sets, *more]
    run += ["--allow", "train.steps", "--allow", "train.parallel"]
    with folder.with_suffix(".log").open("wb") as log:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        return subprocess.Popen([sys.executable, *launcher, *run], stderr=log, stdout=log, env=environment)


def finished(launched: subprocess.Popen[bytes], folder: Path) -> list[tuple[int, str, str]]:
    """Step, loss and norm of the gradient, to the last bit, of a run that ended well."""
    try:
        assert 0 == launched.wait(timeout=240), said(folder)[-3000:]
    finally:
        launched.terminate()
    return losses(folder)


def wait_until(done: Callable[[], bool], launched: subprocess.Popen[bytes], folder: Path) -> None:
    """Until something is so, which has to be before the run ends."""
    until = time.monotonic() + 200
    while not done():
        assert launched.poll() is None, said(folder)
        assert time.monotonic() < until, said(folder)
        time.sleep(0.02)


def said(folder: Path) -> str:
    """What launcher and processes printed."""
    return folder.with_suffix(".log").read_text()


def losses(folder: Path) -> list[tuple[int, str, str]]:
    path = folder / "metrics.jsonl"
    records = [record for record in read_metrics(path) if "loss" in record] if path.exists() else []
    return [(record["step"], record["loss"].hex(), record["gradient_norm"].hex()) for record in records]


def children(process: int) -> list[int]:
    """The processes that a process started, by when."""
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == process:
                found.append(int(stat.parent.name))
        except OSError:
            continue
    return sorted(found)
