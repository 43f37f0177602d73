"""The samples of a run that could not be used: told one by one, and too many of them stop it."""

from __future__ import annotations

import json
from collections import Counter, deque
from pathlib import Path

from ..errors import InputError
from .loader import Batch
from .reader import BadSample
from .specs import BadSpec

BAD_SAMPLES = "bad_samples.jsonl"
"""The file's name in a run's folder."""

REASONS = 5
"""So many of the commonest reasons are named when a run stops."""


class BadSamples:
    """Writes `bad_samples.jsonl`: step, stream, sample, source, key, reason and message of what was replaced.

    once: whether each sample is told once, however often it comes. step: how many updates were made before; what was
    told of later ones is made again, and forgotten.
    """

    def __init__(self, path: Path, limits: BadSpec, *, once: bool, step: int) -> None:
        self._path = path
        self._limits = limits
        self._once = once
        self._known = dict.fromkeys(self._told_until(step))
        self._last: deque[tuple[int, Counter[str]]] = deque()
        self._samples = 0
        self._reasons: Counter[str] = Counter()

    @property
    def known(self) -> tuple[BadSample, ...]:
        """The samples that were told before."""
        return tuple(self._known)

    def saw(self, step: int, batch: Batch) -> None:
        """Take note of the batch of a step, counted from 0.

        Raises InputError, which names the commonest reasons, if too many of the last samples were bad.
        """
        fresh = [bad for bad in batch.bad if not (self._once and bad in self._known)]
        if fresh:
            with self._path.open("a", encoding="ascii") as file:
                file.writelines(json.dumps({"step": step + 1} | bad._asdict()) + "\n" for bad in fresh)
            self._known |= dict.fromkeys(fresh if self._once else ())
        reasons = Counter(bad.reason for bad in batch.bad)
        self._last.append((len(batch.samples), reasons))
        self._samples += self._last[-1][0]
        self._reasons += reasons
        while self._samples - self._last[0][0] >= self._limits.last:
            samples, reasons = self._last.popleft()
            self._samples -= samples
            self._reasons -= reasons
        found = self._reasons.total()
        if found >= self._limits.least and found > self._limits.rate * self._samples:
            commonest = ", ".join(f"{count} {reason}" for reason, count in self._reasons.most_common(REASONS))
            raise InputError(
                f"data: of the last {self._samples:,} samples {found:,} were bad, more than {self._limits.rate:.1%}: "
                f"{commonest}; {self._path} lists them; mend or remove them, or raise data.bad.rate"
            )

    def _told_until(self, step: int) -> list[BadSample]:
        """What the file tells of the first ``step`` updates; the rest is removed from it."""
        if not self._path.exists():
            return []
        lines = self._path.read_text(encoding="ascii", errors="replace").splitlines()
        kept = [(line, record) for line in lines if (record := _record(line)) is not None and record[0] <= step]
        if len(kept) < len(lines):
            rewritten = self._path.with_name(f".{self._path.name}.new")
            rewritten.write_text("".join(line + "\n" for line, _ in kept), encoding="ascii")
            rewritten.replace(self._path)
        return [record[1] for _, record in kept]


def _record(line: str) -> tuple[int, BadSample] | None:
    """The step and the sample of a line; None if a crash cut it short."""
    try:
        fields = json.loads(line)
        return int(fields.pop("step")), BadSample(**fields)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
