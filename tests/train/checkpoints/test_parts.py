"""Checkpoints of models that several processes have in parts: each writes its own, and each reads what it needs."""

from __future__ import annotations

import json
import pickle
import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from distributed.processes import in_ranks
from numpy.typing import NDArray
from runs import tiny_run
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import AdamW

import flava_parts as fp
from flava_parts.compose import compose
from flava_parts.errors import InputError
from flava_parts.train.average import moving_average, skeleton
from flava_parts.train.checkpoints import atomic_io, parts
from flava_parts.train.checkpoints.layout import CHECKPOINTS, NEEDED
from flava_parts.train.checkpoints.loading import newest_checkpoint, open_checkpoint, verify, what_is_wrong
from flava_parts.train.checkpoints.manifest import MANIFEST, manifest_of
from flava_parts.train.checkpoints.saving import CheckpointError, Checkpoints
from flava_parts.train.distribution import Parallel, spread
from flava_parts.train.loop import State
from flava_parts.train.ranks import GlooRanks
from flava_parts.writing import to_yaml

Arrays = dict[str, dict[str, NDArray[Any]]]
WAYS: dict[int, dict[str, Parallel]] = {
    2: {"ddp-2": "ddp", "fsdp-2": "fsdp"},
    4: {"fsdp-4": "fsdp", "hybrid-4": "hybrid"},
}
"""By the number of processes; `hybrid` in groups of two."""


class Small(nn.Module):
    """Parameters that are cut evenly, unevenly and not at all, a scalar, and a buffer of whole numbers."""

    def __init__(self, more: int = 0) -> None:
        super().__init__()
        self.image_encoder = nn.Linear(3, 5)
        self.more = nn.ModuleList(nn.Linear(512, 512, bias=False) for _ in range(more))
        self.row = nn.Parameter(torch.randn(1, 5))
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("codes", torch.randint(100, (7,)))

    def forward(self, inputs: Tensor) -> Tensor:
        return (self.image_encoder(inputs) * self.row * self.scale).square().sum()


def made(way: Parallel | None = None, *, seed: int = 1, more: int = 0, averaged: bool = True) -> State:
    """A state before its first update; of ``more`` MiB, if it is to be large."""
    torch.manual_seed(seed)
    model = Small(more)
    copy = skeleton(model)
    shared = None if way is None else spread(model, way, shard_ranks=2 if way == "hybrid" else None)
    average = moving_average(model, 0.9, copy) if averaged else None
    return State(model=model, optimizer=AdamW(model.parameters(), lr=0.1), average=average, spread=shared)


def updated(state: State, times: int = 3) -> State:
    """The state after so many updates more."""
    for _ in range(times):
        state.optimizer.zero_grad()
        state.forward(torch.randn(5, 3, generator=torch.Generator().manual_seed(state.step))).backward()
        state.optimizer.step()
        if state.average is not None:
            state.average.update_parameters(state.model)
        state.step += 1
    return state


def save(folder: Path, state: State, ranks: GlooRanks | None = None, **settings: Any) -> Path:
    return Checkpoints(folder, "{}\n", ranks=ranks or GlooRanks(), **settings).save(state.tensors(), state.facts())


def arrays(state: State) -> Arrays:
    """All that a state holds, whole; of several processes on the first."""
    groups = state.tensors() if state.spread is None else state.spread.whole(state.tensors())
    return {name: {key: tensor.numpy().copy() for key, tensor in group.items()} for name, group in groups.items()}


def assert_equal(expected: Arrays, actual: Arrays) -> None:
    assert expected.keys() == actual.keys()
    for group, tensors in expected.items():
        assert tensors.keys() == actual[group].keys()
        for name, array in tensors.items():
            assert array.dtype == actual[group][name].dtype
            assert np.array_equal(array, actual[group][name]), name


def write(rank: int, folder: Path) -> None:
    """Go on from what one process wrote, and write it again, in every way."""
    for name, way in WAYS[dist.get_world_size()].items():
        state = made(way)
        state.restore(open_checkpoint(folder / "plain" / "step-00000003"))
        save(folder / name, state)


def write_and_read(rank: int, folder: Path) -> dict[str, Arrays]:
    write(rank, folder)
    return read(rank, folder)


def read(rank: int, folder: Path) -> dict[str, Arrays]:
    """Go on in every way from what was written in every way."""
    found: dict[str, Arrays] = {}
    for name, way in WAYS[dist.get_world_size()].items():
        for written in sorted(folder.iterdir()):
            state = made(way)
            state.restore(open_checkpoint(newest_checkpoint(written, ranks=GlooRanks())))
            found[f"{written.name} by {name}"] = arrays(state)
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the same state, as it is written in every way."""
    folder = tmp_path_factory.mktemp("written")
    state = updated(made(seed=0))
    Checkpoints(folder / "plain", "{}\n").save(state.tensors(), state.facts())
    in_ranks(write, 2, folder)
    return folder


@pytest.fixture(scope="module")
def read_again(written: Path) -> list[dict[str, Arrays]]:
    """What two and four processes read, of what one, two and four wrote."""
    return [in_ranks(work, size, written)[0] for work, size in ((write_and_read, 4), (read, 2))]


@pytest.fixture
def sharded(written: Path, tmp_path: Path) -> Path:
    """A checkpoint in the parts of two processes."""
    return Path(shutil.copytree(written / "fsdp-2", tmp_path / "copy")) / "step-00000003"


def test_a_checkpoint_moves_between_numbers_of_processes_and_ways_bit_for_bit(
    read_again: list[dict[str, Arrays]],
) -> None:
    """One, two and four; whole, in parts, and in parts in groups: weights, averages, buffers and counts."""
    expected = arrays(updated(made(seed=0)))
    for found in read_again:
        assert 10 == len(found)
        for actual in found.values():
            assert_equal(expected, actual)


@pytest.mark.usefixtures("read_again")
def test_one_process_goes_on_from_any_of_them(written: Path) -> None:
    expected = updated(made(seed=0), 4)
    for folder in sorted(written.iterdir()):
        state = made()
        state.restore(open_checkpoint(newest_checkpoint(folder)))
        assert_equal(arrays(expected), arrays(updated(state, 1)))


def test_the_files_of_a_checkpoint_in_parts(sharded: Path) -> None:
    """Each process has its own; what all have whole is in one of them. Whole models stay one file."""
    names = sorted(path.relative_to(sharded).as_posix() for path in sharded.rglob("*") if path.is_file())
    shards = [f"shard-{number:05d}-model-00001-of-00001.safetensors" for number in (1, 2)]

    assert [
        "MANIFEST.json",
        *(f"average/{shard}" for shard in shards),
        *(f"model/{shard}" for shard in shards),
        *(f"optimizer/{shard}" for shard in shards),
        "spec.yaml",
        "state.json",
    ] == names
    assert set(names) - {MANIFEST} == json.loads((sharded / MANIFEST).read_text())["files"].keys()
    assert {(2, 3), (3, 3)} == {
        tuple(load_file(sharded / "model" / name)["image_encoder.weight"].shape) for name in shards
    }
    assert 1 == sum("codes" in load_file(sharded / "model" / name) for name in shards)


def test_whole_models_stay_one_file(written: Path) -> None:
    for way in ("plain", "ddp-2"):
        names = sorted(path.name for path in (written / way / "step-00000003").iterdir())
        tensors = ["average.safetensors", "model.safetensors", "optimizer.safetensors"]
        assert ["MANIFEST.json", *tensors, "spec.yaml", "state.json"] == names


def test_nothing_is_pickled(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is safetensors, JSON or YAML, and is read without what could run code."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refused)
    for path in written.rglob("*"):
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                assert all(isinstance(file.get_tensor(name), Tensor) for name in file.keys())  # noqa: SIM118
        elif path.is_file():
            assert path.suffix in (".json", ".yaml") or path.name == "LATEST"
            path.read_text(encoding="utf-8")
    for folder in written.iterdir():
        made().restore(open_checkpoint(newest_checkpoint(folder)))


def tells(rank: int, folder: Path) -> list[str]:
    """What is said of a value that is no tensor, and of a disk that is full for the second process alone; and what this
    process saw to be on the disk before that."""
    state, sync = made("fsdp"), atomic_io.sync
    said: list[str] = []
    atomic_io.sync = lambda path: said.append(path.name) or sync(path)  # type: ignore[method-assign]
    save(folder, state)
    said = [" ".join(said)]
    state.step = 1
    for wrong in ({"a": "number"}, None):
        tensors = state.tensors()
        if wrong is not None:
            tensors["model"]["scale"] = wrong  # type: ignore[assignment]
        elif rank == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
        with pytest.raises(CheckpointError) as caught:
            Checkpoints(folder, "{}\n", ranks=GlooRanks()).save(tensors, state.facts())
        said.append(str(caught.value))
    return said


def test_what_one_process_cannot_write_is_one_line_in_all(tmp_path: Path) -> None:
    """torch's own exception, which `except Exception` would miss, and values of which torch would make a pickle."""
    for rank, said in enumerate(in_ranks(tells, 2, tmp_path)):
        assert said[0].startswith(f"shard-{rank + 1:05d}-model-00001-of-00001.safetensors model ")
        for line, reason in zip(said[1:], ("scale is no tensor", "File too large"), strict=True):
            assert line.startswith(f"{tmp_path}: no checkpoint of step 1 could be written (")
            assert reason in line
            assert 1 == len(line.splitlines())
    assert ["LATEST", "step-00000000"] == sorted(path.name for path in tmp_path.iterdir())
    assert what_is_wrong(tmp_path / "step-00000000") is None


def peaks(rank: int, folder: Path) -> dict[str, Any]:
    """The MiB that a save and a load take beyond what there was before, and the sizes of what was gathered."""
    gathered: list[int] = []
    gather = DTensor.full_tensor
    parts.FILE_BYTES = 2**20
    DTensor.full_tensor = lambda self, **_: gathered.append(self.numel()) or gather(self)  # type: ignore[method-assign]
    state = made("fsdp", more=64, averaged=False)

    def grown(do: Callable[[], object]) -> float:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = memory("VmRSS")
        do()
        return (memory("VmHWM") - before) / 1024

    saved = grown(lambda: save(folder, state))
    loaded = grown(lambda: state.restore(open_checkpoint(folder / "step-00000000")))
    return {"saved": saved, "loaded": loaded, "gathered": gathered}


def memory(what: str) -> int:
    """A figure of this process's memory, in KiB."""
    found = re.search(rf"^{what}:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found.group(1))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux' /proc")
def test_no_process_has_the_whole_model_for_a_moment(tmp_path: Path) -> None:
    """Each has 32 MiB of 64, and needs no more for saving and loading than for a few files of 1 MiB."""
    for found in in_ranks(peaks, 2, tmp_path):
        assert {1} == set(found["gathered"])
        assert 16 > found["saved"]
        assert 16 > found["loaded"]
    assert 64 == len(list((tmp_path / "step-00000000" / "model").iterdir()))


def rewritten(checkpoint: Path, change: Callable[[dict[str, Tensor], dict[str, Any]], object]) -> None:
    """Change the second process's part of the model, tensors and where they belong, and let the manifest say so."""
    path = checkpoint / "model" / "shard-00002-model-00001-of-00001.safetensors"
    with safe_open(path, framework="pt") as file:
        told = json.loads(file.metadata()["DCP_SHARDING_INFO"])
    tensors = load_file(path)
    change(tensors, told)
    save_file(tensors, path, metadata={"DCP_SHARDING_INFO": json.dumps(told)})
    (checkpoint / MANIFEST).write_text(manifest_of(checkpoint))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors, told: tensors.pop("image_encoder.bias"), r"image_encoder.bias is \(3,\), not \(5,\)"),
        (lambda tensors, told: told["image_encoder.bias"].update(saved_offsets=[2]), "do not make a whole"),
        (lambda tensors, told: told["image_encoder.bias"].update(saved_offsets=[4]), "do not make a whole"),
        (lambda tensors, told: told["image_encoder.bias"].update(saved_offsets=[-1]), "do not make a whole"),
        (lambda tensors, told: told["image_encoder.weight"].update(saved_offsets=[3, 1]), "do not make a whole"),
        (lambda tensors, told: told.pop("image_encoder.bias"), "cannot be read as safetensors"),
        (lambda tensors, told: told.update({"image_encoder.bias": 1}), "cannot be read as safetensors"),
        (
            lambda tensors, told: tensors.update({"image_encoder.bias": torch.zeros(2).half()}),
            "the parts of image_encoder.bias are of several types",
        ),
    ],
)
def test_parts_that_do_not_go_together_are_refused_before_the_model_is_touched(
    sharded: Path, change: Callable[[dict[str, Tensor], dict[str, Any]], object], message: str
) -> None:
    """However right the manifest is: torch itself would leave holes as they are in memory."""
    rewritten(sharded, change)
    state = updated(made())
    before = arrays(state)
    verify(sharded)
    with pytest.raises(InputError, match=message) as caught:
        state.restore(open_checkpoint(sharded))

    assert str(caught.value).startswith(f"{sharded / 'model'}: ")
    assert 1 == len(str(caught.value).splitlines())
    assert_equal(before, arrays(state))


def test_a_stranger_s_file_among_the_parts_is_none(sharded: Path) -> None:
    save_file({"image_encoder.bias": torch.zeros(5), "more": torch.zeros(1)}, sharded / "model" / "more.safetensors")
    state = made()
    state.restore(open_checkpoint(sharded))

    assert_equal(arrays(updated(made(seed=0))), arrays(state))


@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_part_is_detected_and_the_checkpoint_before_used(sharded: Path, harm: str) -> None:
    shutil.copytree(sharded, sharded.with_name("step-00000002"))
    path = sharded / "optimizer" / "shard-00002-model-00001-of-00001.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + (b"" if harm == "cut" else bytes([whole[-1] ^ 1])))
    if harm == "remove":
        path.unlink()
    said: list[str] = []

    assert "step-00000002" == newest_checkpoint(sharded.parent, say=said.append).name
    assert "step-00000003: IS DAMAGED: optimizer/shard-00002-model-00001-of-00001.safetensors" in said[0]
    assert "step-00000003" == newest_checkpoint(sharded.parent, only=NEEDED).name


@pytest.mark.parametrize("name", ["../step-00000002/spec.yaml", "/etc/passwd", "model/../spec.yaml", "model//x", "."])
def test_a_manifest_that_leads_elsewhere_is_refused(sharded: Path, name: str) -> None:
    files = json.loads((sharded / MANIFEST).read_text())["files"]
    files[name] = files.pop("spec.yaml")
    (sharded / MANIFEST).write_text(json.dumps({"files": files}, indent=2, sort_keys=True) + "\n")

    assert f"names {name!r}, which is no file of the checkpoint" in what_is_wrong(sharded)


def leave_run(rank: int, folder: Path) -> None:
    """The tiny run before its first step, by two processes that have parts of the model."""
    spec = tiny_run()
    torch.manual_seed(0)
    model = compose(spec.model, vocab=spec.data.tokenizer.vocab())
    shared = spread(model, "fsdp")
    state = State(model=model, optimizer=spec.train.optimizer.build(model=model), spread=shared)
    Checkpoints(folder / CHECKPOINTS, to_yaml(spec), ranks=GlooRanks()).save(state.tensors(), state.facts())


def test_a_model_in_parts_is_read_by_whoever_reads_models(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole or a part of it, of which alone the tensors are read; without its optimiser, and without processes."""
    in_ranks(leave_run, 2, tmp_path)
    expected, actual = fp.load_pretrained(model_folder).state_dict(), fp.load_pretrained(tmp_path).state_dict()

    assert expected.keys() == actual.keys()
    assert all(torch.equal(tensor, actual[name]) for name, tensor in expected.items())

    asked: list[str] = []
    read = parts.TensorGroup.read
    monkeypatch.setattr(parts.TensorGroup, "read", lambda self, into: asked.extend(into) or read(self, into))
    encoder = fp.load_part(tmp_path, "text_encoder").state_dict()

    assert {f"text_encoder.{name}" for name in encoder} == set(asked)
    assert all(torch.equal(tensor, actual[f"text_encoder.{name}"]) for name, tensor in encoder.items())
    assert fp.load_pretrained(tmp_path / CHECKPOINTS / "step-00000000").state_dict().keys() == expected.keys()
