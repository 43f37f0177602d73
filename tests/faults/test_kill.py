"""A trainer that is killed, at any moment, however often, makes the run that nobody disturbed, bit for bit."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from faults.conftest import STEPS, Forge, ends_alike, history

from flava_parts.train.checkpoints.failpoints import ARMED, EXIT_CODE, FAILPOINTS
from flava_parts.train.checkpoints.loading import checkpoints_in, what_is_wrong


def leftovers(folder: Path) -> list[str]:
    """What lies in a run's checkpoints besides checkpoints."""
    return [path.name for path in (folder / "checkpoints").iterdir() if path.name.startswith(".")]


def test_killed_at_random_moments(
    forge: Forge, straight: Path, tmp_path: Path, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    """Up to three times in a row; then it goes on to the end. Prints its seed; ``--seed`` repeats it."""
    seed, trials = pytestconfig.getoption("seed"), pytestconfig.getoption("trials")
    draw = random.Random(seed)
    began = time.monotonic()
    shutil.rmtree(tmp_path / "timed", ignore_errors=True)
    assert 0 == forge.train(tmp_path / "timed").wait()
    whole = time.monotonic() - began
    hit = 0
    for trial in range(trials):
        folder = tmp_path / str(trial)
        for _ in range(draw.randint(1, 3)):
            trainer = forge.train(folder)
            time.sleep(draw.uniform(0, whole))
            trainer.send(signal.SIGKILL)
            hit += trainer.wait() == -signal.SIGKILL
        trainer = forge.train(folder)

        assert 0 == trainer.wait(), (seed, trial, trainer.said())
        assert history(straight) == history(folder), (seed, trial)
        assert ends_alike(straight, folder), (seed, trial)
        assert [] == leftovers(folder), (seed, trial)
        shutil.rmtree(folder)
    with capsys.disabled():
        print(f"\n{trials} trials, {hit} kills before the end, a run takes {whole:.1f} s, seed {seed}")

    assert hit >= trials / 2, "killed too late to mean anything"


@pytest.fixture
def halfway(straight: Path, tmp_path: Path) -> Path:
    """The folder of a run of twelve steps whose newest checkpoint is of step nine."""
    folder = Path(shutil.copytree(straight, tmp_path / "halfway"))
    shutil.rmtree(folder / "checkpoints" / f"step-{STEPS:08d}")
    return folder


@pytest.mark.parametrize("place", FAILPOINTS)
def test_dying_at_every_place_of_a_save(forge: Forge, straight: Path, halfway: Path, place: str) -> None:
    """The checkpoint before it is whole, the next save succeeds, nothing is left over."""
    # Two more from before, so that there is something to prune.
    for step in (2, 3):
        shutil.copytree(halfway / "checkpoints" / "step-00000009", halfway / "checkpoints" / f"step-{step:08d}")
    trainer = forge.train(halfway, env={ARMED: f"{place}=die"})

    assert EXIT_CODE == trainer.wait(), trainer.said()
    assert what_is_wrong(halfway / "checkpoints" / "step-00000009") is None

    trainer = forge.train(halfway)

    assert 0 == trainer.wait(), trainer.said()
    assert "DAMAGED" not in trainer.said()
    assert history(straight) == history(halfway)
    assert ends_alike(straight, halfway)
    assert [] == leftovers(halfway)
    assert f"step-{STEPS:08d}\n" == (halfway / "checkpoints" / "LATEST").read_text()


@pytest.mark.parametrize("edge", range(0, STEPS + 1, 3))
def test_going_on_from_every_checkpoint(forge: Forge, straight: Path, tmp_path: Path, edge: int) -> None:
    """In the middle of warm-up, at an epoch's edge, at the end; twice in a row from the same one."""
    folder = tmp_path / "run"
    trainer = forge.train(folder, "--set", "train.keep_last=null")

    assert 0 == trainer.wait(), trainer.said()
    for _ in range(2):
        for path in checkpoints_in(folder / "checkpoints"):
            if int(path.name[5:]) > edge:
                shutil.rmtree(path)
        trainer = forge.train(folder, "--set", "train.keep_last=null")

        assert 0 == trainer.wait(), trainer.said()
        assert history(straight) == history(folder)
        assert ends_alike(straight, folder)


@pytest.mark.parametrize(("rank", "place"), [
    *((0, place) for place in FAILPOINTS),
    *((1, place) for place in ("tensors_written", "tensors_synced", "tensors_agreed")),
])  # fmt: skip
@pytest.mark.parametrize(("in_parts", "action"), [(True, "die"), (True, "ENOSPC"), (False, "die")])
def test_one_of_two_processes_fails(
    forge: Forge, tmp_path: Path, rank: int, place: str, action: str, in_parts: bool
) -> None:
    """The other ends within 30 s with one line; a whole checkpoint remains; the next save succeeds."""
    folder = tmp_path / "checkpoints"

    def save(step: int, **settings: object):
        store = tmp_path / f"store-{step}-{time.monotonic_ns()}"
        return [forge.save(folder, rank=r, step=step, store=store, in_parts=in_parts, **settings) for r in (0, 1)]

    for step in (1, 2):
        assert [0, 0] == [process.wait() for process in save(step)]
    began = time.monotonic()
    processes = save(3, env={ARMED: f"{place}={action}@{rank}"})
    codes = [process.wait() for process in processes]
    expected = EXIT_CODE if action == "die" else 1

    assert 30 > time.monotonic() - began
    assert expected == codes[rank], processes[rank].said()
    assert 1 == codes[1 - rank], processes[1 - rank].said()
    assert 1 == len(processes[1 - rank].said().splitlines()), processes[1 - rank].said()
    whole = [path for path in checkpoints_in(folder) if what_is_wrong(path) is None]
    assert whole[-1].name in ("step-00000002", "step-00000003")
    assert ("model" if in_parts else "model.safetensors") in os.listdir(whole[-1])

    assert [0, 0] == [process.wait() for process in save(4)]
    assert ["LATEST", "step-00000004"] == sorted(os.listdir(folder))


def test_dying_with_workers_that_read_ahead(forge: Forge, straight: Path, tmp_path: Path) -> None:
    """What two workers had prepared is lost with the trainer, and comes again as one process alone would make it."""
    changes = ("--set", "data.workers=2")
    trainer = forge.train(tmp_path, *changes, env={ARMED: "renamed=die"})

    assert EXIT_CODE == trainer.wait(), trainer.said()

    trainer = forge.train(tmp_path, *changes)

    assert 0 == trainer.wait(), trainer.said()
    assert history(straight) == history(tmp_path)
    assert ends_alike(straight, tmp_path)
