"""Trainers that are killed, runs to compare them with, and how often to try."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from runs import TINY
from safetensors.torch import load_file

from flava_parts.train.json_lines import read_metrics

STEPS = 12
CHANGES = (
    *TINY,
    f"train.steps={STEPS}",
    "train.checkpoint_every=3",
    "train.keep_last=2",
    "train.schedule.warmup=6",
    "train.accumulate=2",
    "train.ema=0.9",
    "data.streams.aligned.batch_size=8",
    "observers.jsonl.type=flava.jsonl",
    "evaluate.retrieval=null",
)
"""A run with everything that a checkpoint has to keep: warm-up, accumulation, moving averages, four streams."""

TIMES = ("seconds", "data_share", "mfu", "memory")
"""Measurements of a record that differ from run to run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--trials", type=int, default=25, help="how often a trainer is killed at a random moment")
    parser.addoption("--seed", type=int, default=random.randrange(10**6), help="of the random moments")


class Trainer:
    """A trainer that the forge has forked."""

    def __init__(self, forge: Forge, pid: int, log: Path) -> None:
        self._forge = forge
        self.pid = pid
        self.log = log

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """The exit code; a negative signal if one killed it. Whatever hangs for four minutes is killed."""
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and not _ended(self.pid):
            time.sleep(0.02)
        if not _ended(self.pid):
            self.send(signal.SIGKILL)
        return self._forge.order({"wait": self.pid})

    def said(self) -> str:
        """What it printed."""
        return self.log.read_text()


class Forge:
    """The process that forks trainers."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forge.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert "ready" == self._answer()

    def order(self, order: dict) -> int:
        """Give an order and wait for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def train(self, folder: Path, *more: str, **settings: object) -> Trainer:
        """Start `flava-parts train` in a folder; ``settings`` are those of an order: env, file_size."""
        changes = [word for change in CHANGES for word in ("--set", change)]
        return self._start({"arguments": ["train", "--out", str(folder), *changes, *more], **settings})

    def save(self, folder: Path, *, rank: int, step: int, store: Path, in_parts: bool, **settings: object) -> Trainer:
        """Start a process that writes a checkpoint with another one."""
        told = {"folder": str(folder), "rank": rank, "step": step, "store": str(store), "in_parts": in_parts}
        return self._start({"save": told, **settings})

    def close(self) -> None:
        """End the forge."""
        self._process.kill()
        self._process.communicate()

    def _start(self, order: dict) -> Trainer:
        self._count += 1
        log = self._logs / f"{self._count}.log"
        log.touch()
        return Trainer(self, self.order({**order, "log": str(log)}), log)

    def _answer(self):
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def _ended(pid: int) -> bool:
    """Whether a process is a zombie or gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    forge = Forge(tmp_path_factory.mktemp("logs"))
    yield forge
    forge.close()


@pytest.fixture(scope="session")
def straight(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "straight"
    trainer = forge.train(folder)

    assert 0 == trainer.wait(), trainer.said()
    return folder


def history(folder: Path) -> list[dict[str, str]]:
    """Every record of a run, exact to the last bit, without what is measured by the clock."""
    return [
        {name: value.hex() if isinstance(value, float) else str(value) for name, value in record.items()}
        for record in ({n: v for n, v in r.items() if n not in TIMES} for r in read_metrics(folder / "metrics.jsonl"))
    ]


def ends_alike(first: Path, second: Path) -> bool:
    """Whether the last checkpoints of two runs have the same bytes in every tensor."""
    paths = [folder / "checkpoints" / f"step-{STEPS:08d}" for folder in (first, second)]
    groups = [{path.name: load_file(path) for path in checkpoint.glob("*.safetensors")} for checkpoint in paths]
    return groups[0].keys() == groups[1].keys() and all(
        tensors.keys() == groups[1][name].keys()
        and all(tensor.equal(groups[1][name][key]) for key, tensor in tensors.items())
        for name, tensors in groups[0].items()
    )
