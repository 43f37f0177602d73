"""The most memory that a process holds while it makes training steps: ``python -m benchmarks.memory ours FOLDER``.

Neither process imports the other's library.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

STEPS = 2
BATCH = "pairs.pt"


def peak_of_step(who: str, folder: Path, batch: Mapping[str, Tensor]) -> float:
    """Peak resident memory in GiB of a process of its own that makes steps of a batch with ``ours`` or ``theirs``."""
    torch.save(dict(batch), folder / BATCH)
    command = [sys.executable, "-m", "benchmarks.memory", who, str(folder)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(printed.split()[-1])


def main() -> None:
    """Load a checkpoint, make the steps, print the peak in GiB."""
    from flava_parts.train.resident import resident_peak

    who, folder = sys.argv[1], Path(sys.argv[2])
    batch = torch.load(folder / BATCH, weights_only=True)
    model, asked = _ours(folder) if who == "ours" else _theirs(folder)
    for _ in range(STEPS):
        model.zero_grad(set_to_none=True)
        model(**batch, **asked).loss.backward()
    print(resident_peak() / 2**30)


def _ours(folder: Path) -> tuple[Any, dict[str, bool]]:
    from flava_parts.interop.pretrained import load_pretrained
    from flava_parts.train.blocks import forget

    model = load_pretrained(folder).train()
    forget(model)
    return model, {"output_states": False}


def _theirs(folder: Path) -> tuple[Any, dict[str, bool]]:
    from transformers import FlavaForPreTraining

    return FlavaForPreTraining.from_pretrained(folder).train(), {}


if __name__ == "__main__":
    main()
