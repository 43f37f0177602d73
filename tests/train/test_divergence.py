"""Updates that are not finite, and losses that jump: left out or the end of the run, and in any case written down."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from runs import tiny_run

import flava_parts as fp
from flava_parts.data.loader import Batches
from flava_parts.train.divergence import ENOUGH, TROUBLE, DivergedError, Divergence
from flava_parts.train.run import run


def silent(text: str) -> None:
    """Nobody listens."""


@pytest.fixture(autouse=True, scope="module")
def _undrawn() -> Iterator[None]:
    """Pictures take longer than these runs, and have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flava_parts.report.pictures.draw_pictures", lambda *_, **__: ())
        yield


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pixels of step 3 (counted from 1) are not numbers, in a run of images alone."""
    batch_of = Batches.batch

    def poisoned(batches: Batches, step: int) -> Any:
        batch = batch_of(batches, step)
        if step == 2:
            batch.tensors["pixel_values"].fill_(float("nan"))
        return batch

    monkeypatch.setattr(Batches, "batch", poisoned)


IMAGES = (
    "data.streams.aligned=null",
    "data.streams.paired=null",
    "data.streams.texts=null",
    "train.checkpoint_every=4",
)


@pytest.mark.usefixtures("poisoned")
def test_a_run_stops_before_a_bad_update(tmp_path: Path) -> None:
    """A checkpoint of the weights before it is left; samples and a command that makes the step again are written."""
    with pytest.raises(DivergedError, match="step 3, stream images: the loss is not finite") as caught:
        run(tiny_run(*IMAGES), tmp_path, log=silent)
    (line,) = lines(tmp_path / TROUBLE)

    assert 1 == caught.value.exit_code
    assert {"step": 3, "reason": "loss", "stream": "images", "loss": None}.items() <= line.items()
    assert 8 == len(line["samples"])
    assert "step-00000002" == Path(line["replay"].split("--resume ")[1]).name
    weights = fp.load_pretrained(tmp_path / "checkpoints" / "step-00000002").state_dict()
    assert all(tensor.isfinite().all() for tensor in weights.values())
    assert [1, 2] == [record["step"] for record in lines(tmp_path / "metrics.jsonl")]


@pytest.mark.usefixtures("poisoned")
def test_a_bad_update_is_left_out(tmp_path: Path) -> None:
    """The steps after it are made from the weights before it, and stay finite."""
    run(tiny_run(*IMAGES, "train.non_finite=skip"), tmp_path, log=silent)
    third, fourth = [record for record in lines(tmp_path / "metrics.jsonl") if "loss" in record][2:]
    before, after = (
        fp.load_pretrained(tmp_path / "checkpoints" / f"step-0000000{step}").state_dict() for step in (2, 4)
    )

    assert (None, 1) == (third["loss"], third["skipped"])
    assert "the loss is not finite" in third["trouble"]
    assert fourth["loss"] > 0
    assert "skipped" not in fourth
    assert all(tensor.isfinite().all() for tensor in after.values())
    assert not torch.equal(before["image_encoder.cls_token"], after["image_encoder.cls_token"])


def test_the_replay_makes_the_step_again(tmp_path: Path) -> None:
    """The command that is written ends as the run did: here, a weight that is not finite from the start."""
    folder = tmp_path / "run"
    with pytest.raises(DivergedError):
        run(tiny_run(*IMAGES, "train.optimizer.learning_rate=1e38", "train.clip_norm=null"), folder, log=silent)
    (line,) = lines(folder / TROUBLE)
    name, *arguments = shlex.split(line["replay"])
    result = subprocess.run([sys.executable, "-m", "flava_parts", *arguments], capture_output=True, text=True)

    assert "flava-parts" == name
    assert 1 == result.returncode, result.stderr
    assert f"step {line['step']}, stream images" in result.stderr
    assert "Traceback" not in result.stderr
    assert line["samples"] == lines(tmp_path / "run-replay" / TROUBLE)[0]["samples"]


def test_the_replay_names_the_command_and_quotes_paths(tmp_path: Path) -> None:
    """A fine-tuning is made again by its own command, and with spaces in it; also where spikes are not watched."""
    folder = tmp_path / "my run"
    folder.mkdir()
    Divergence(folder, spike=None, verb="finetune").write("loss", record(1.0), [], checkpoint=folder / "step-00000002")
    (line,) = lines(folder / TROUBLE)

    assert [
        *("flava-parts", "finetune", f"{folder}/spec.yaml", "--out", f"{folder}-replay"),
        *("--resume", f"{folder}/step-00000002"),
    ] == shlex.split(line["replay"])


def record(loss: float, norm: float = 1.0, stream: str = "a") -> dict[str, Any]:
    return {"step": 1, "stream": stream, "loss": loss, "gradient_norm": norm}


def test_a_spike_is_against_the_running_median_of_its_stream(tmp_path: Path) -> None:
    """Not before there are enough losses, and not by what another stream has."""
    watch = Divergence(tmp_path, spike=3.0)
    for number in range(ENOUGH):
        assert watch.reason(record(1.0 if number % 2 else 1.2), is_overflow=False) is None

    assert watch.reason(record(3.0), is_overflow=False) is None
    assert "spike" == watch.reason(record(4.0), is_overflow=False)
    assert watch.reason(record(4.0, stream="b"), is_overflow=False) is None
    assert "more than 3 times its running median" in watch.write("spike", record(4.0), ["x", "y"])
    assert [["x", "y"]] == [line["samples"] for line in lines(tmp_path / TROUBLE)]


@pytest.mark.parametrize(
    ("loss", "norm", "is_overflow", "reason"),
    [
        (float("nan"), 1.0, False, "loss"),
        (float("inf"), 1.0, True, "loss"),
        (1.0, float("inf"), False, "gradient"),
        (1.0, float("inf"), True, None),
        (1.0, 1.0, False, None),
    ],
)
def test_what_is_not_finite_has_a_name(
    tmp_path: Path, loss: float, norm: float, is_overflow: bool, reason: Literal["loss", "gradient"] | None
) -> None:
    """A gradient that overflowed in fp16 is not trouble: the scale is halved."""
    assert reason == Divergence(tmp_path, spike=None).reason(record(loss, norm), is_overflow=is_overflow)
