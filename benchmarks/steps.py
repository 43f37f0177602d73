"""Training steps of one model in a process of its own: ``python -m benchmarks.steps ours FOLDER``.

Who trains has one model in a process: neither shall work in memory that the other's steps have laid out. Our process
and transformers' do not import the other's library.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

Step = Callable[[dict[str, Tensor]], float]
"""Forward and backward of a batch; its loss."""


class Taken(NamedTuple):
    """What a step took."""

    loss: float
    seconds: float
    peak: float
    """The most memory that the process held so far, in GiB."""


class Stepper:
    """A process with the model of a checkpoint, of ``ours``, ``transformers`` or ``torchmultimodal``."""

    def __init__(self, who: str, folder: Path) -> None:
        self.batch = folder / f"{who}.pt"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.steps", who, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        )

    def __enter__(self) -> Stepper:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def __call__(self, batch: Mapping[str, Tensor]) -> Taken:
        """A step of a batch."""
        torch.save(dict(batch), self.batch)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(self.batch, file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith("["):
                return Taken(*json.loads(line))
        raise RuntimeError(f"{self.batch.stem} stopped: exit code {self.process.wait()}")


def in_turn(
    ours: Stepper, theirs: Stepper, own: Mapping[str, Tensor], batch: Mapping[str, Tensor], *, rounds: int
) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """How far the losses lie apart, relatively, and seconds of each round, one after the other; a step before does not
    count. Raises AssertionError if the losses differ."""
    actual, expected = ours(own).loss, theirs(batch).loss
    apart = abs(actual - expected) / abs(expected)
    if apart > 1e-4:
        raise AssertionError(f"the losses differ, {actual} and {expected}")
    pairs = [(ours(own).seconds, theirs(batch).seconds) for _ in range(rounds)]
    first, second = zip(*pairs, strict=True)
    return apart, first, second


def _ours(folder: Path) -> Step:
    from flava_parts.interop.pretrained import load_pretrained
    from flava_parts.train.blocks import forget

    model = load_pretrained(folder).train()
    forget(model)
    return _step(model, lambda batch: model(**batch, output_states=False).loss)


def _transformers(folder: Path) -> Step:
    from transformers import FlavaForPreTraining

    model = FlavaForPreTraining.from_pretrained(folder).train()
    return _step(model, lambda batch: model(**batch).loss)


def _torchmultimodal(folder: Path) -> Step:
    from flava_parts.interop.pretrained import load_pretrained

    from .torchmultimodal_steps import loss_of, peer

    model = peer(load_pretrained(folder))

    return _step(model, lambda batch: loss_of(model, batch))


def _step(model: Any, loss_of: Callable[[dict[str, Tensor]], Tensor]) -> Step:
    def step(batch: dict[str, Tensor]) -> float:
        model.zero_grad(set_to_none=True)
        loss = loss_of(batch)
        loss.backward()
        return loss.item()

    return step


def main() -> None:
    """Load a checkpoint; make a step for each file of a batch that is named on standard input, and say what it took."""
    from flava_parts.train.resident import resident_peak

    who, folder = sys.argv[1], Path(sys.argv[2])
    step = {"ours": _ours, "transformers": _transformers, "torchmultimodal": _torchmultimodal}[who](folder)
    for line in sys.stdin:
        batch = torch.load(line.strip(), weights_only=True)  # anew, since transformers writes into its labels
        start = time.perf_counter()
        loss = step(batch)
        seconds = time.perf_counter() - start
        print(json.dumps(Taken(loss, seconds, resident_peak() / 2**30)), flush=True)


if __name__ == "__main__":
    main()
