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
