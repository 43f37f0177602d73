"""Runs with everything that training can be told at once, and recipes of several runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from runs import TINY, tiny_run

import flava_parts as fp
from flava_parts.errors import InputError
from flava_parts.hooks import hookimpl
from flava_parts.plugins import load_registry
from flava_parts.spec import RunSpec
from flava_parts.train.run import run
from flava_parts.train.specs import ObserverSpec


def silent(text: str) -> None:
    """Nobody listens."""


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def numbers(folder: Path) -> list[dict[str, Any]]:
    """The records without what was measured of the machine."""
    machine = {"seconds", "data_share", "mfu", "memory"}
    return [{name: value for name, value in record.items() if name not in machine} for record in records(folder)]


@pytest.fixture(autouse=True, scope="module")
def _undrawn() -> Iterator[None]:
    """Pictures take longer than these runs, and have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flava_parts.report.pictures.draw_pictures", lambda *_, **__: ())
        yield


class Halving:
    """Proposes half the contrastive weight once its loss was seen."""

    def __init__(self, *, folder: Path) -> None:
        self.proposal: dict[str, float] = {}

    def begin(self, *, step: int, steps: int) -> None: ...

    def stepped(self, record: Mapping[str, Any]) -> None:
        self.proposal = {"global_contrastive": 0.5} if "loss/global_contrastive" in record else {}

    def evaluated(self, record: Any) -> None: ...

    def end(self) -> None: ...

    def propose(self) -> Mapping[str, float]:
        return self.proposal


class HalvingSpec(ObserverSpec):
    """An observer with a proposal."""

    type: Literal["acme.halving"] = "acme.halving"

    def build(self, *, folder: Path) -> Halving:
        return Halving(folder=folder)


class Plugin:
    @hookimpl
    def flava_parts_specs(self) -> list[type[ObserverSpec]]:
        return [HalvingSpec]


REGISTRY = load_registry(plugins=[Plugin()], entry_points=False)

EVERYTHING = (
    "train.checkpoint_every=1",
    "train.optimizer={type: flava.muon, learning_rate: 1e-3}",
    "train.schedule={type: flava.wsd, warmup: 2, decay: 2}",
    "train.layer_decay=0.9",
    "train.rates={text_encoder: 0.5}",
    "train.freeze_until={image_encoder: 3}",
    "train.accumulate=3",
    "train.grad_cache=true",
    "train.precision=bf16",
    "train.recompute=true",
    "train.ema=0.9",
    "train.evaluate_every=2",
    "train.keep_last=1",
    "train.keep_best=retrieval/image_to_text/top1",
    "train.changes.itm={number: losses.itm.weight, schedule: {type: flava.piecewise, points: [[0, 1], [3, 0.5]]}}",
    "train.changes.words.number=text_masker.probability",
    "train.changes.words.schedule={type: flava.piecewise, points: [[0, 1], [2, 3]]}",
    "data.streams.images=null",
    "observers.halving.type=acme.halving",
    "observers.jsonl.type=flava.jsonl",
)


def everything(steps: int = 6) -> RunSpec:
    return fp.load_run("flava.emoji", registry=REGISTRY, set=[*TINY, f"train.steps={steps}", *EVERYTHING])


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything, made in one go."""
    folder = tmp_path_factory.mktemp("everything") / "straight"
    run(everything(), folder, registry=REGISTRY, log=silent)
    return folder


def test_what_changes_is_in_the_record(straight: Path) -> None:
    """The numbers of each step; a proposal counts from the next step on, and holds."""
    steps = [record for record in records(straight) if "loss" in record]
    contrastive = [index for index, record in enumerate(steps) if "loss/global_contrastive" in record]

    assert [1.0, 1.0, 1.0, 0.5, 0.5, 0.5] == [record["value/losses.itm.weight"] for record in steps]
    assert [0.15, 0.15, *[pytest.approx(0.45)] * 4] == [record["value/text_masker.probability"] for record in steps]
    assert ["value/losses.global_contrastive.weight" in record for record in steps] == [
        index > contrastive[0] for index in range(6)
    ]
    assert all(0 < record["mfu"] < 2 and record["memory"] > 1e7 for record in steps)


def test_evaluations_come_every_so_many_steps_and_the_best_checkpoint_stays(straight: Path) -> None:
    """Each once; the newest checkpoint is kept, and that of the best measure."""
    measure = "retrieval/image_to_text/top1"
    found = {record["step"]: record[measure] for record in records(straight) if measure in record}
    best = max(found, key=lambda step: (found[step], step))

    assert [2, 4, 6] == list(found)
    assert {f"step-{step:08d}" for step in (best, 6)} == {
        path.name for path in (straight / "checkpoints").glob("step-*")
    }


class StoppedError(Exception):
    """The run is cut off here."""


def test_a_run_with_everything_goes_on_bit_for_bit(
    straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the checkpoint of an evaluation: losses, weights that change, measures, averages."""
    stepped = Halving.stepped

    def cut(self: Halving, record: Mapping[str, Any]) -> None:
        stepped(self, record)
        if record["step"] == 3:
            raise StoppedError

    monkeypatch.setattr(Halving, "stepped", cut)
    with pytest.raises(StoppedError):
        run(everything(), tmp_path, registry=REGISTRY, log=silent)
    monkeypatch.setattr(Halving, "stepped", stepped)
    run(everything(), tmp_path, registry=REGISTRY, log=silent)
    kept, resumed = (fp.load_pretrained(folder / "average").state_dict() for folder in (straight, tmp_path))

    assert numbers(straight) == numbers(tmp_path)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in kept.items())


ALONE = ("evaluate.retrieval=null", "data.streams.aligned=null", "data.streams.paired=null")


def test_encoders_pretrained_alone_are_where_a_joint_run_begins(tmp_path: Path) -> None:
    """The paper's recipe: images alone, texts alone, then all; the joint run's first weights are theirs."""
    run(tiny_run(*ALONE, "data.streams.texts=null", steps=1), tmp_path / "images", log=silent)
    unseen = [f"model.losses.{name}=null" for name in ("mim", "mmm_image")]
    texts = tiny_run(*ALONE, *unseen, "model.codebook=null", "data.streams.images=null", steps=1)
    run(texts, tmp_path / "texts", log=silent)
    sources = f"{{image_encoder: {tmp_path / 'images'}, text_encoder: {tmp_path / 'texts'}}}"
    frozen = "train.freeze_until={image_encoder: 9, text_encoder: 9}"
    run(
        tiny_run(f"train.initialize={sources}", frozen, "evaluate.retrieval=null", steps=2),
        tmp_path / "joint",
        log=silent,
    )
    joint = fp.load_pretrained(tmp_path / "joint")
    for slot in ("image_encoder", "text_encoder"):
        begun = fp.load_part(tmp_path / f"{slot.removesuffix('_encoder')}s", slot).state_dict()
        assert all(torch.equal(tensor, begun[name]) for name, tensor in getattr(joint, slot).state_dict().items())
    other = fp.load_pretrained(tmp_path / "images").text_encoder.state_dict()
    assert not torch.equal(other["word_embedding.weight"], joint.text_encoder.state_dict()["word_embedding.weight"])


def test_a_part_of_another_shape_is_no_beginning(model_folder: Path, tmp_path: Path) -> None:
    """Named with where it was to come from."""
    spec = tiny_run(f"train.initialize.image_encoder={model_folder}", "model.image_encoder.depth=2")
    with pytest.raises(InputError, match=r"train\.initialize\.image_encoder: .*blocks\.1.* is missing"):
        run(spec, tmp_path, log=silent)
