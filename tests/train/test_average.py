"""The moving average of the weights: what torch's formula gives, kept by checkpoints, and what is measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from runs import tiny_run
from tiny_batches import tiny_model

import flava_parts as fp
from flava_parts.errors import InputError
from flava_parts.train.average import moving_average
from flava_parts.train.checkpoints.loading import open_checkpoint
from flava_parts.train.checkpoints.saving import Checkpoints
from flava_parts.train.loop import State
from flava_parts.train.optimizers import adamw
from flava_parts.train.run import run

QUIET = "evaluate.retrieval=null"


def silent(text: str) -> None:
    """Nobody listens."""


@pytest.fixture(autouse=True, scope="module")
def _undrawn() -> Iterator[None]:
    """Pictures take longer than these runs, and have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flava_parts.report.pictures.draw_pictures", lambda *_, **__: ())
        yield


def test_the_average_is_a_moving_one() -> None:
    """The first update copies; each later one moves a tenth of the way. The codebook is the model's own."""
    model = tiny_model()
    average = moving_average(model, 0.9)
    weight, mean = model.image_encoder.cls_token, average.module.image_encoder.cls_token
    with torch.no_grad():
        weight.fill_(1.0)
        average.update_parameters(model)
        weight.fill_(2.0)
        average.update_parameters(model)

    assert mean.mean().item() == pytest.approx(1.1)
    assert average.module.codebook is model.codebook


def state(*, seed: int = 0, averaged: bool = True) -> State:
    model = tiny_model(seed=seed)
    average = moving_average(model, 0.9) if averaged else None
    return State(model=model, optimizer=adamw(model=model, learning_rate=0.1), average=average)


def test_an_average_goes_through_a_checkpoint(tmp_path: Path) -> None:
    """A checkpoint without one is refused, and then nothing is changed."""
    first, other, none = state(), state(seed=1), state(averaged=False)
    assert first.average is not None
    with torch.no_grad():
        first.model.image_encoder.cls_token.fill_(1.0)
    first.average.update_parameters(first.model)
    with_average, without = (
        open_checkpoint(Checkpoints(tmp_path / name, "{}\n").save(saved.tensors(), saved.facts()))
        for name, saved in (("with", first), ("without", none))
    )
    before = {name: tensor.clone() for name, tensor in other.tensors()["model"].items()}
    with pytest.raises(InputError, match=r"average\.safetensors: does not fit the spec: updates is missing"):
        other.restore(without)

    assert all(torch.equal(before[name], tensor) for name, tensor in other.tensors()["model"].items())

    other.restore(with_average)
    kept = first.tensors()["average"]

    assert 1 == kept["updates"]
    assert all(torch.equal(kept[name], tensor) for name, tensor in other.tensors()["average"].items())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an average that was made in one go."""
    folder = tmp_path_factory.mktemp("average") / "straight"
    run(tiny_run(QUIET, "train.ema=0.5"), folder, log=silent)
    return folder


def test_a_run_leaves_the_average_as_a_model(finished: Path) -> None:
    """Which differs from the last weights, and is the one that was measured."""
    last, average = fp.load_pretrained(finished), fp.load_pretrained(finished / "average")
    words = fp.load_processor(finished / "average")(text=["a face"])

    assert not torch.equal(last.image_encoder.cls_token, average.image_encoder.cls_token)
    assert (1, 128) == average.embed_text(words["input_ids"]).shape


def test_a_resumed_average_continues_bit_for_bit(finished: Path, tmp_path: Path) -> None:
    """It is in the checkpoint; a run that lost it would end elsewhere."""
    run(tiny_run(QUIET, "train.ema=0.5", steps=2), tmp_path, log=silent)
    run(tiny_run(QUIET, "train.ema=0.5"), tmp_path, allow=["train.steps"], log=silent)
    straight, resumed = (fp.load_pretrained(folder / "average").state_dict() for folder in (finished, tmp_path))

    assert all(torch.equal(tensor, resumed[name]) for name, tensor in straight.items())
