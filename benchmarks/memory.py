"""The most memory that a process holds while it makes training steps: ``python -m benchmarks.memory ours FOLDER``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

STEPS = 2


def peak_of_step(who: str, folder: Path) -> float:
    """Peak resident memory in GiB of a process of its own that makes paired steps with ``ours`` or ``theirs``."""
    command = [sys.executable, "-m", "benchmarks.memory", who, str(folder)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(printed.split()[-1])


def main() -> None:
    """Load a checkpoint, make the steps, print the peak in GiB."""
    from flava_parts.train.throughput import resident_peak

    from . import peers
    from .training import paired

    who, folder = sys.argv[1], Path(sys.argv[2])
    model = {"ours": peers.ours, "theirs": peers.theirs}[who](folder)
    batch = paired()
    for _ in range(STEPS):
        peers.step(model, batch, **({"output_states": False} if who == "ours" else {}))
    print(resident_peak() / 2**30)


if __name__ == "__main__":
    main()
