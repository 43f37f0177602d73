"""Updates that go wrong: what is written down about them, so that they can be looked at and made again."""

from __future__ import annotations

import json
import math
import shlex
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Literal

from ..errors import FlavaPartsError

TROUBLE = "trouble.jsonl"
"""The file in a run's folder, one object a line for each update that went wrong."""

WINDOW = 100
"""The running median is that of so many losses of a stream, the last ones."""

ENOUGH = 20
"""Before a stream has had so many losses, none of them is a spike."""

Reason = Literal["loss", "gradient", "spike"]


class DivergedError(FlavaPartsError):
    """An update's loss or gradient was not finite. The run ended before it, and its last checkpoint is whole."""


class Divergence:
    """Looks at every update of the run in a folder. ``spike``: how many times the running median is too much; ``verb``:
    the command that made the run, and can make its steps again.

    Each of several processes, by ``rank``, has its own samples, and its own file.
    """

    def __init__(self, folder: Path, *, spike: float | None, rank: int = 0, verb: str = "train") -> None:
        self.path = folder / (f"trouble-{rank}.jsonl" if rank else TROUBLE)
        self._spike = spike
        self._verb = verb
        self._losses: dict[str, deque[float]] = {}

    def reason(self, record: Mapping[str, Any], *, is_overflow: bool) -> Reason | None:
        """What is wrong with an update, or None.

        ``is_overflow`` says that a gradient which is not finite is the scale's fault. Each stream has a median of its
        own, which begins anew when a run goes on.
        """
        loss = record["loss"]
        if not math.isfinite(loss):
            return "loss"
        if not math.isfinite(record["gradient_norm"]):
            return None if is_overflow else "gradient"
        losses = self._losses.setdefault(record["stream"], deque(maxlen=WINDOW))
        spiked = self._spike is not None and len(losses) >= ENOUGH and loss > self._spike * median(losses)
        losses.append(loss)
        return "spike" if spiked else None

    def write(
        self, reason: Reason, record: Mapping[str, Any], keys: Sequence[str], *, checkpoint: Path | None = None
    ) -> str:
        """Append an update's record, its samples and how to make it again from a ``checkpoint``; the sentence to say.

        Numbers that are not finite are written as null.
        """
        step = record["step"]
        line = {
            "step": step,
            "reason": reason,
            **{
                name: None if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in record.items()
                if name != "step"
            },
            "samples": list(keys),
        }
        replay = None
        if checkpoint is not None:
            folder = self.path.parent
            spec, out = str(folder / "spec.yaml"), f"{folder}-replay"
            replay = shlex.join(["flava-parts", self._verb, spec, "--out", out, "--resume", str(checkpoint)])
            line["replay"] = replay
        with self.path.open("a", encoding="ascii", newline="\n") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
        what = f"the {reason} is not finite"
        if reason == "spike":
            what = f"the loss is {record['loss']:.4g}, more than {self._spike:g} times its running median"
        said = f"step {step}, stream {record['stream']}: {what}; its samples are in {self.path}"
        return said if replay is None else f"{said}; to make the step again: {replay}"
