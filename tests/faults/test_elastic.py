"""torchrun starts all processes anew when one is killed, and the run goes on from its checkpoint."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from faults.launched import STEPS, children, finished, losses, said, torchrun, wait_until


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_run_goes_on_bit_for_bit_when_a_process_of_two_is_killed(tmp_path: Path, parallel: str) -> None:
    """The losses and norms of all steps are those of the run that nobody touched."""
    expected = finished(torchrun(tmp_path / "whole", 2, f"train.parallel={parallel}"), tmp_path / "whole")
    folder = tmp_path / "killed"
    launched = torchrun(folder, 2, f"train.parallel={parallel}")
    wait_until(lambda: len(losses(folder)) >= 5, launched, folder)
    os.kill(children(launched.pid)[-1], signal.SIGKILL)
    actual = finished(launched, folder)

    assert "going on from" in said(folder)
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
