"""Fine-tuning, from a pretrained run to a measured classifier."""

import json

import pytest
import torch
from runs import tiny_run

from flava_parts.errors import SpecError
from flava_parts.loading import load_finetune
from flava_parts.train.finetune import finetune
from flava_parts.train.run import run


def silent(text: str) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> str:
    """The folder of a tiny pretraining."""
    folder = tmp_path_factory.mktemp("runs") / "pretrained"
    run(tiny_run(steps=2), folder, log=silent)
    return str(folder)


def tiny(pretrained: str, *changes: str, steps: int = 4):
    """The shipped fine-tuning, with a small head and few small batches."""
    small = ["train.batch_size=16", "head.hidden=16", "train.checkpoint_every=2", "train.schedule.warmup=1"]
    return load_finetune(
        "flava.emoji_groups", set=[f"pretrained={json.dumps(pretrained)}", *small, f"train.steps={steps}", *changes]
    )


def records(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_it_trains_and_measures(pretrained, tmp_path):
    """Every step has a finite loss, and the held-out samples are measured at the end."""
    outcome = finetune(tiny(pretrained), tmp_path, log=silent)
    *steps, evaluation = records(tmp_path)

    assert outcome.complete
    assert [1, 2, 3, 4] == [record["step"] for record in steps]
    assert all(record["loss"] is not None for record in steps)
    assert outcome.metrics
    assert set(outcome.metrics) <= set(evaluation)
    assert 0 <= outcome.metrics["held_out/accuracy"] <= 1


def test_the_same_seed_gives_the_same_numbers(pretrained, tmp_path):
    for name in ("one", "two"):
        finetune(tiny(pretrained), tmp_path / name, log=silent)

    assert [record.get("loss") for record in records(tmp_path / "one")] == [
        record.get("loss") for record in records(tmp_path / "two")
    ]


def test_what_is_frozen_does_not_change(pretrained, tmp_path):
    """With the image encoder frozen its weights stay; without, they move."""
    from safetensors.torch import load_file

    weights = {}
    for name, freeze in (("frozen", "[image_encoder]"), ("free", "[]")):
        finetune(tiny(pretrained, f"train.freeze={freeze}"), tmp_path / name, log=silent)
        first, last = (
            load_file(tmp_path / name / "checkpoints" / f"step-0000000{step}" / "model.safetensors") for step in (2, 4)
        )
        weights[name] = all(torch.equal(first[key], last[key]) for key in first if "image_encoder" in key)

    assert {"frozen": True, "free": False} == weights


def test_a_head_that_reads_what_the_data_lacks_is_refused(pretrained):
    with pytest.raises(SpecError, match="the head reads text, but the source has no text"):
        tiny(pretrained, "head.reads=text", "data.train={type: flava.image_folder, folder: src}", "data.held_out=null")
