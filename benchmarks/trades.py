"""What less memory costs: ``python -m benchmarks.trades`` writes ``docs/performance/trades.md``.

Each line is a process of its own that makes training steps of the whole model in one way: its peak, and seconds a step.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from .scaling import FOLDER

DOCUMENTS = 12
"""Of 512 tokens each, of which 15 % have a label: their logits are a third of a gigabyte."""


def _nothing(model: nn.Module) -> None:
    """As torch keeps everything."""


def _made_again(model: nn.Module) -> None:
    from flava_parts.train.blocks import forget

    forget(model)


def _recomputed(model: nn.Module) -> None:
    from flava_parts.train.blocks import recompute

    recompute(model)


def _in_chunks(model: nn.Module) -> None:
    _made_again(model)
    for loss in model.losses.values():
        if hasattr(loss, "chunk_size"):
            loss.chunk_size = 128


WAYS: Mapping[str, Callable[[nn.Module], None]] = {
    "all is kept": _nothing,
    "norms and activations are made again, as in training": _made_again,
    "blocks are recomputed (`train.recompute`)": _recomputed,
    "as in training, and logits of 128 labels at a time (`chunk_size`)": _in_chunks,
}


def measured(work: str, way: str, folder: Path, rounds: int) -> dict[str, float]:
    """Peak resident GiB of this process, and the fastest step's seconds."""
    from flava_parts.interop.pretrained import load_pretrained
    from flava_parts.train.resident import resident_peak

    model = load_pretrained(folder).train()
    WAYS[way](model)
    batch = torch.load(folder / f"{work}.pt", weights_only=True)
    seconds: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        model.zero_grad(set_to_none=True)
        model(**batch, output_states=False).loss.backward()
        seconds.append(time.perf_counter() - start)
    return {"gib": resident_peak() / 2**30, "seconds": min(seconds)}


def main() -> None:
    """Measure every way, or, with ``--way``, one in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", nargs=3, metavar=("WORK", "WAY", "FOLDER"))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--smoke", action="store_true", help="a tiny model: shows that all of it runs")
    parser.add_argument("--out", type=Path, default=FOLDER)
    asked = parser.parse_args()
    if asked.way:
        work, way, folder = asked.way
        print(json.dumps(measured(work, way, Path(folder), asked.rounds)))
        return
    from .peers import checkpoint, texts
    from .training import paired

    folder = checkpoint(smoke=asked.smoke)
    works = {"pairs": ("4 pairs", paired()), "texts": (f"{DOCUMENTS} texts", texts([512] * DOCUMENTS))}
    lines = ["| step | what is kept | peak GiB | seconds |", "| --- | --- | --- | --- |"]
    for work, (name, batch) in works.items():
        torch.save(batch, folder / f"{work}.pt")
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.trades", "--way", work, way, str(folder)]
            command += ["--rounds", str(1 if asked.smoke else asked.rounds)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found = json.loads(printed.splitlines()[-1])
            lines.append(f"| {name} | {way} | {found['gib']:.2f} | {found['seconds']:.3g} |")
            print(lines[-1], flush=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "trades.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
