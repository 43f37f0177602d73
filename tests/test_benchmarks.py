"""The benchmarks run, on a model too small for their figures to say anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_promise_has_its_line(tmp_path: Path) -> None:
    """Losses and scores are compared with the peer's before anything is timed; the command fails if they differ."""
    command = [sys.executable, "-m", "benchmarks", "--smoke", "--out", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert 0 == done.returncode, done.stderr[-2000:]
    (record,) = (json.loads(path.read_text()) for path in tmp_path.glob("*.json"))
    (table,) = (path.read_text() for path in tmp_path.glob("*.md"))

    assert {"P1", "P2", "P3", "P4", "P5", "P7", "P9", "P10"} <= {row["id"] for row in record["rows"]}
    assert all(row["ours"]["median"] > 0 and row["theirs"]["median"] > 0 for row in record["rows"])
    assert {"processor", "threads", "torch", "transformers"} <= record["machine"].keys()
    assert all(f"| {row['id']} | {row['work']} |" in table for row in record["rows"])


def test_the_benchmark_for_gpus_runs_without_one(tmp_path: Path) -> None:
    """All of it but the card: rivals, profile, the record."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--smoke", "--batch", "2"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_COMPILE_DISABLE": "1"},  # compiling is not what is tested
        check=False,
    )
    assert 0 == done.returncode, done.stderr[-2000:]
    (record,) = (json.loads(path.read_text()) for path in tmp_path.glob("gpu-*.json"))

    assert 4 == len(record["rows"])
    assert all(10 == len(row["kernels"]) and row["samples_per_second"] > 0 for row in record["rows"].values())
    # The rivals' first losses are of the same weights and batch, in bf16.
    losses = [row["first_loss"] for row in record["rows"].values()]
    assert max(losses) - min(losses) < 0.02 * max(losses)


def test_ranks_send_what_the_formula_says(tmp_path: Path) -> None:
    """Two processes. What crossed the loopback interface is what rings send; others may send over it meanwhile."""
    command = [sys.executable, "-m", "benchmarks.ranks", "--smoke", "--out", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert 0 == done.returncode, done.stderr[-2000:]
    (line,) = (
        line
        for line in (tmp_path / "ranks.md").read_text().splitlines()
        if line.startswith("| 2 | ") and line.count("|") == 5
    )
    sent, by_formula = (float(cell) for cell in line.split("|")[3:5])

    assert 100 < by_formula < 1.05 * sent
    assert (tmp_path / "ranks.png").read_bytes().startswith(b"\x89PNG")
