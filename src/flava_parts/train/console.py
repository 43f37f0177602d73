"""The observer that shows a run to the person who started it."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Collection, Mapping
from pathlib import Path
from time import monotonic

from .observers import Record

PACE_STEPS = 100
"""Speed and time left are taken from this many steps, so that streams of different cost even out."""


class Console:
    """A progress bar if stderr is a terminal, a plain line every ``every`` steps and at the last one otherwise.

    Losses are means of the last ``every`` steps that had them, since each stream has losses of its own. Beside them
    stand images a second, the share of the time that was spent on batches (``data``), the share of the measured peak
    (``MFU``), the most memory so far, and the time left. What goes by is written to stderr, and at the end a table of
    the losses then and now; the evaluations of the finished model are written to stdout, as a table.
    """

    def __init__(self, *, folder: Path, every: int = 20) -> None:
        self.folder = folder
        self.every = every
        self._steps = 0
        self._first: dict[str, list[float]] = {}
        self._recent: dict[str, deque[float]] = {}
        self._pace = _Pace(0)
        self._bar: _Bar | None = None

    def begin(self, *, step: int, steps: int) -> None:
        """Say where the run is kept, and from which step it goes on."""
        self._steps = steps
        self._first, self._recent = {}, {}
        self._pace = _Pace(step)
        going_on = f", going on after step {step}" if step else ""
        print(f"{self.folder}: {steps} steps{going_on}", file=sys.stderr, flush=True)
        if sys.stderr.isatty():
            self._bar = _Bar(step, steps)

    def stepped(self, record: Record) -> None:
        """Show one update: its number, the losses, images a second, the time left."""
        step = int(record["step"])
        for key, value in record.items() if "skipped" not in record else ():
            if (key == "loss" or key.startswith("loss/")) and not isinstance(value, str):
                name = key.removeprefix("loss/")
                self._recent.setdefault(name, deque(maxlen=self.every)).append(value)
                if len(first := self._first.setdefault(name, [])) < self.every:
                    first.append(value)
        self._pace.advance(step, record)
        if "trouble" in record:
            print(record["trouble"], file=sys.stderr, flush=True)
        losses = "  ".join(f"{name} {_number(_mean(recent))}" for name, recent in self._recent.items())
        pace = self._pace.describe(self._steps - step)
        if self._bar is not None:
            self._bar.show(step, losses, pace)
        elif step % self.every == 0 or step == self._steps:
            print(f"step {step}/{self._steps}  {losses}  {pace}", file=sys.stderr, flush=True)
        if step == self._steps:
            self.end()
            print(self._table(pace), file=sys.stderr, flush=True)

    def _table(self, pace: str) -> str:
        """The losses of the first and of the last steps, and the pace."""
        title = f"after {self._steps} steps"
        width = max(map(len, (title, *self._recent)))
        rows = [
            f"{name.ljust(width)}  {_number(_mean(self._first[name])):>8}  {_number(_mean(recent)):>8}"
            for name, recent in self._recent.items()
        ]
        return "\n".join([f"{title.ljust(width)}  {'first':>8}  {'last':>8}", *rows, pace])

    def evaluated(self, record: Record) -> None:
        """Show one evaluation: a line on the way, a table on stdout at the end."""
        step, values = int(record["step"]), {key: value for key, value in record.items() if key != "step"}
        if step < self._steps:
            line = "  ".join(f"{key} {_measure(key, value)}" for key, value in values.items())
            print(f"step {step}/{self._steps}  {line}", file=sys.stderr, flush=True)
        else:
            self.end()
            print(evaluation_table(f"after step {step}", values), flush=True)

    def end(self) -> None:
        """Leave the bar as it is and give the terminal back."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def evaluation_table(title: str, values: Mapping[str, float | int | str]) -> str:
    """Values named ``retrieval/image_to_text/top1`` as lines of text: one row for each path, one column a measure.

    Measures called ``top...`` are shares, and shown in per cent.
    """
    rows: dict[str, dict[str, str]] = {}
    for key, value in values.items():
        path, _, measure = key.rpartition("/")
        rows.setdefault(path, {})[measure] = _measure(key, value)
    measures = list(dict.fromkeys(measure for row in rows.values() for measure in row))
    cells = [
        [title, *measures],
        *([path, *(row.get(measure, "") for measure in measures)] for path, row in rows.items()),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]).rstrip() for first, *rest in cells
    )


class _Pace:
    """How fast the run goes, by its last `PACE_STEPS` steps."""

    def __init__(self, step: int) -> None:
        self._begun = monotonic()
        self._marks: deque[tuple[float, int, int]] = deque([(self._begun, step, 0)], maxlen=PACE_STEPS + 1)
        self._shares: deque[tuple[float, float, float]] = deque(maxlen=PACE_STEPS)
        self._memory = 0.0

    def advance(self, step: int, record: Record) -> None:
        """Step ``step`` was made just now."""
        self._marks.append((monotonic(), step, self._marks[-1][2] + int(record.get("images", 0))))
        if "mfu" in record:
            seconds, data, mfu, self._memory = (
                float(record[name]) for name in ("seconds", "data_share", "mfu", "memory")
            )
            self._shares.append((seconds, data * seconds, mfu * seconds))

    def describe(self, left: int) -> str:
        """``812 images/s  3m10s left`` if so many steps are left; ``took 4m02s`` at the end."""
        (since, first_step, first_images), (now, step, images) = self._marks[0], self._marks[-1]
        seconds, steps = max(now - since, 1e-9), max(step - first_step, 1)
        speed = f"{(images - first_images) / seconds:.0f} images/s" if images else f"{_number(steps / seconds)} steps/s"
        time = f"{_duration(left * seconds / steps)} left" if left else f"took {_duration(now - self._begun)}"
        return f"{speed}  {self._share_of_time()}{time}"

    def _share_of_time(self) -> str:
        """``data 3 %  MFU 45 %  1.2 GB`` and two spaces, if steps told."""
        if not self._shares:
            return ""
        seconds, data, mfu = (sum(column) for column in zip(*self._shares, strict=True))
        memory = f"{self._memory / 1e9:.1f} GB"
        return f"data {data / seconds:.0%}  MFU {mfu / seconds:.0%}  {memory}  ".replace("%", " %")


class _Bar:
    """A progress bar on stderr, with a line of losses under it. Whatever else is printed appears above."""

    def __init__(self, step: int, steps: int) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("step"), MofNCompleteColumn(), BarColumn(None), TextColumn("{task.fields[pace]}"))
        console = Console(stderr=True)
        self._progress = Progress(*columns, console=console, expand=True)
        self._task = self._progress.add_task("", total=steps, completed=step, pace="")
        # A redirected stdout belongs to whoever reads it: only what would land on this terminal goes above the bar.
        self._live = Live(self._progress, console=console, redirect_stdout=sys.stdout.isatty())
        self._live.start()

    def show(self, step: int, losses: str, pace: str) -> None:
        """Move the bar to ``step``."""
        from rich.console import Group
        from rich.text import Text

        self._progress.update(self._task, completed=step, pace=pace)
        self._live.update(Group(self._progress, Text(losses)))

    def close(self) -> None:
        """Draw the last state and let go of the terminal."""
        self._live.stop()


def _mean(values: Collection[float]) -> float:
    return sum(values) / len(values)


def _number(value: float) -> str:
    return f"{value:.2f}" if value == 0 or abs(value) >= 0.1 else f"{value:.2g}"


def _measure(key: str, value: float | int | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.1%}".replace("%", " %") if key.rpartition("/")[2].startswith("top") else f"{value:.4g}"


def _duration(seconds: float) -> str:
    """``45s``, ``3m10s``, ``2h05m``, ``3d04h``."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"
