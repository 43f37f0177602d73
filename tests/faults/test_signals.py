"""Signals, second trainers, and disks that refuse: one line, the right exit code, nothing lost."""

import os
import random
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
from faults import launched
from faults.conftest import STEPS, Forge, Trainer, history

from flava_parts.train.checkpoints.loading import newest_checkpoint, what_is_wrong
from flava_parts.train.json_lines import read_metrics

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]

PLUGIN = """
import time
from pathlib import Path
from typing import Literal
from flava_parts import hookimpl
from flava_parts.data.sources.specs import EmojiSpec
from flava_parts.evaluate.specs import EvaluationSpec

class StuckEvaluationSpec(EvaluationSpec):
    type: Literal["acme.stuck"] = "acme.stuck"
    folder: str
    def build(self):
        return lambda model, processor: wait(self.folder)

class Stuck:
    def __init__(self, source, folder):
        self.source, self.folder = source, folder
    def __getattr__(self, name):
        return getattr(self.source, name)
    def __len__(self):
        return len(self.source)
    def sample(self, *arguments):
        if Path(self.folder, "run/metrics.jsonl").exists():
            wait(self.folder)
        return self.source.sample(*arguments)

class StuckSourceSpec(EmojiSpec):
    type: Literal["acme.emoji"] = "acme.emoji"
    folder: str
    def build(self):
        return Stuck(EmojiSpec().build(), self.folder)

def wait(folder):
    Path(folder, "mark").touch()
    time.sleep(60)

@hookimpl
def flava_parts_specs():
    return [StuckEvaluationSpec, StuckSourceSpec]
"""

STUCK = {
    "evaluation": "evaluate.stuck={type: acme.stuck, folder: FOLDER}",
    "data": "data.streams.aligned.source={type: acme.emoji, folder: FOLDER}",
}


def wait_until(done, trainer: Trainer) -> None:
    """Until something is so, for at most a minute."""
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, trainer.said()
        time.sleep(0.01)


def records(folder: Path) -> list[dict]:
    path = folder / "metrics.jsonl"
    return read_metrics(path) if path.exists() else []


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_leaves_a_checkpoint_of_the_current_step(
    forge: Forge, straight: Path, tmp_path: Path, number: signal.Signals, pytestconfig: pytest.Config
) -> None:
    """Within 10 s, with the documented exit code; and going on ends as the run that nobody disturbed."""
    draw = random.Random(pytestconfig.getoption("seed"))
    trainer, after = forge.train(tmp_path), draw.randint(1, STEPS - 3)
    wait_until(lambda: len(records(tmp_path)) >= after, trainer)
    time.sleep(draw.uniform(0, 0.1))
    trainer.send(number)
    began = time.monotonic()
    code = trainer.wait()

    assert 10 > time.monotonic() - began
    assert 128 + number == code, trainer.said()
    step = records(tmp_path)[-1]["step"]
    assert f"step-{step:08d}" == newest_checkpoint(tmp_path / "checkpoints").name
    assert "go on with: flava-parts train --out" in trainer.said()
    trainer = forge.train(tmp_path)

    assert 0 == trainer.wait(), trainer.said()
    assert history(straight) == history(tmp_path)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("what", STUCK)
def test_a_signal_ends_what_hangs(forge: Forge, tmp_path: Path, number: signal.Signals, what: str) -> None:
    """An evaluation, or a batch that never comes: what was trained until then is kept."""
    (tmp_path / "stuck.py").write_text(PLUGIN)
    folder, setting = tmp_path / "run", STUCK[what].replace("FOLDER", str(tmp_path))
    trainer = forge.train(folder, "-p", str(tmp_path / "stuck.py"), "--set", setting, "--set", "train.steps=4")
    wait_until((tmp_path / "mark").exists, trainer)
    trainer.send(number)
    began = time.monotonic()
    code = trainer.wait()

    assert 10 > time.monotonic() - began
    assert 128 + number == code, trainer.said()
    step = records(folder)[-1]["step"]
    assert f"step-{step:08d}" == newest_checkpoint(folder / "checkpoints").name


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, str, str]]:
    """The losses of the run of two processes that nobody disturbed."""
    folder = tmp_path_factory.mktemp("together") / "straight"
    return launched.finished(launched.torchrun(folder, 2), folder)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_torchrun_or_to_one_process_stops_all_at_one_step(
    together: list[tuple[int, str, str]], tmp_path: Path, number: signal.Signals
) -> None:
    """torchrun passes signals on, also to workers that make batches. Whoever gets one, all stop with one checkpoint,
    within 10 s; and going on, three times, ends as the run that nobody disturbed."""
    folder, settings = tmp_path / "run", ("data.workers=1", "train.checkpoint_every=100")
    for until, rank in ((2, None), (5, 0), (8, 1)):
        run = launched.torchrun(folder, 2, *settings, restarts=0)
        launched.wait_until(lambda until=until: len(launched.losses(folder)) >= until, run, folder)
        os.kill(run.pid if rank is None else launched.children(run.pid)[rank], number)
        began = time.monotonic()

        assert 1 == run.wait(60), launched.said(folder)
        assert 10 > time.monotonic() - began
        step = len(launched.losses(folder))
        assert STEPS > step
        assert f"interrupted after {step} of {STEPS} steps" in launched.said(folder)
        assert f"step-{step:08d}" == newest_checkpoint(folder / "checkpoints").name

    assert together == launched.finished(launched.torchrun(folder, 2, *settings), folder)


@pytest.mark.parametrize("what", STUCK)
def test_a_signal_to_torchrun_ends_what_hangs(tmp_path: Path, what: str) -> None:
    """An evaluation, which is the first process's, or a batch that never comes, which the others wait for."""
    (tmp_path / "stuck.py").write_text(PLUGIN)
    folder, setting = tmp_path / "run", STUCK[what].replace("FOLDER", str(tmp_path))
    run = launched.torchrun(folder, 2, setting, steps=4, more=["-p", str(tmp_path / "stuck.py")])
    launched.wait_until((tmp_path / "mark").exists, run, folder)
    time.sleep(0.5)
    run.send_signal(signal.SIGTERM)
    began = time.monotonic()

    assert 1 == run.wait(60), launched.said(folder)
    assert 10 > time.monotonic() - began
    step = launched.losses(folder)[-1][0]
    assert f"interrupted after {step} of 4 steps" in launched.said(folder)
    assert f"step-{step:08d}" == newest_checkpoint(folder / "checkpoints").name


def test_a_second_trainer_is_refused_and_a_killed_one_blocks_nobody(forge: Forge, tmp_path: Path) -> None:
    first = forge.train(tmp_path, "--set", "train.steps=5000")
    wait_until(lambda: len(records(tmp_path)) >= 1, first)
    second = forge.train(tmp_path, "--set", "train.steps=5000")

    assert 2 == second.wait()
    assert f"process {first.pid} on " in second.said()
    assert 1 == len(second.said().splitlines())

    first.send(signal.SIGKILL)
    first.wait()
    third = forge.train(tmp_path, "--set", "train.steps=5000")
    wait_until(lambda: "fitting" in third.said() or "going on from" in third.said(), third)
    third.send(signal.SIGKILL)
    third.wait()


def test_a_full_disk_is_one_line_and_the_old_checkpoint_is_whole(forge: Forge, straight: Path, tmp_path: Path) -> None:
    """No file may grow beyond what the weights need: the save fails for real, in the writing of safetensors."""
    folder = Path(shutil.copytree(straight, tmp_path / "run"))
    shutil.rmtree(folder / "checkpoints" / f"step-{STEPS:08d}")
    old = folder / "checkpoints" / f"step-{STEPS - 3:08d}"
    assert (old / "model.safetensors").stat().st_size > 500_000
    trainer = forge.train(folder, file_size=400_000)

    assert 1 == trainer.wait(), trainer.said()
    assert "no checkpoint of step" in trainer.said()
    assert "Traceback" not in trainer.said()
    assert what_is_wrong(old) is None
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    trainer = forge.train(folder)

    assert 0 == trainer.wait(), trainer.said()
    assert history(straight) == history(folder)
