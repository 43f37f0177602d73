"""torchrun starts all processes anew when one is killed, and the run goes on from its checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import TINY

from flava_parts.train.json_lines import read_metrics

STEPS = 12


def torchrun(folder: Path, size: int, *changes: str, steps: int = STEPS) -> subprocess.Popen[bytes]:
    """The tiny run by ``size`` processes of this machine, which may be started anew once."""
    sets = [word for change in (*TINY, f"train.steps={steps}", *changes) for word in ("--set", change)]
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={size}", "--max-restarts=1", "--standalone"]
    run = ["-m", "flava_parts", "train", "flava.emoji", "--out", str(folder), *sets]
    run += ["--allow", "train.steps", "--allow", "train.parallel"]
    with folder.with_suffix(".log").open("wb") as log:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        return subprocess.Popen([sys.executable, *launcher, *run], stderr=log, stdout=log, env=environment)


def finished(launched: subprocess.Popen[bytes], folder: Path) -> list[tuple[int, str, str]]:
    """Step, loss and norm of the gradient, to the last bit, of a run that ended well."""
    try:
        assert 0 == launched.wait(timeout=240), folder.with_suffix(".log").read_text()[-3000:]
    finally:
        launched.terminate()
    return losses(folder)


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


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_run_goes_on_bit_for_bit_when_a_process_of_two_is_killed(tmp_path: Path, parallel: str) -> None:
    """The losses and norms of all steps are those of the run that nobody touched."""
    expected = finished(torchrun(tmp_path / "whole", 2, f"train.parallel={parallel}"), tmp_path / "whole")
    folder = tmp_path / "killed"
    launched = torchrun(folder, 2, f"train.parallel={parallel}")
    until = time.monotonic() + 200
    while len(losses(folder)) < 5:
        assert launched.poll() is None, folder.with_suffix(".log").read_text()[-3000:]
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(children(launched.pid)[-1], signal.SIGKILL)
    actual = finished(launched, folder)

    assert "going on from" in folder.with_suffix(".log").read_text()
    assert STEPS == len(expected)
    assert expected == actual


def test_a_run_moves_between_one_process_and_two(tmp_path: Path) -> None:
    """Four steps by two processes with parts of the model, four by one, four by two with all of it."""
    for name in ("moved", "alone"):
        for steps, size, parallel in ((4, 2, "fsdp"), (8, 1, "ddp"), (12, 2, "ddp")):
            changes = [f"train.parallel={parallel}", "model.text_encoder.dropout=0.0", "train.schedule.final=1.0"]
            launched = torchrun(tmp_path / name, 1 if name == "alone" else size, *changes, steps=steps)
            finished(launched, tmp_path / name)
    for (step, loss, norm), (other, other_loss, other_norm) in zip(
        losses(tmp_path / "alone"), losses(tmp_path / "moved"), strict=True
    ):
        assert step == other
        assert pytest.approx(float.fromhex(loss), rel=1e-4) == float.fromhex(other_loss)
        assert pytest.approx(float.fromhex(norm), rel=1e-3) == float.fromhex(other_norm)
