"""A run's state on disk: tensors in safetensors, the rest in YAML and JSON, complete or absent."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import InputError

CHECKPOINTS = "checkpoints"
"""The folder of a run that holds its checkpoints."""

MODEL, OPTIMIZER, STATE, SPEC = "model.safetensors", "optimizer.safetensors", "state.json", "spec.yaml"
"""The files of a checkpoint."""


def save_checkpoint(folder: Path, *, step: int, model: nn.Module, optimizer: Optimizer, spec_yaml: str) -> Path:
    """Write ``folder/step-NNNNNNNN``: into a hidden folder first, renamed when everything in it is on the disk."""
    final = folder / f"step-{step:08d}"
    if final.exists():
        return final
    with new_folder(final) as unfinished:
        save_tensors(model.state_dict(), unfinished / MODEL)
        save_tensors(_optimizer_tensors(model, optimizer), unfinished / OPTIMIZER)
        (unfinished / SPEC).write_text(spec_yaml, encoding="utf-8")
        (unfinished / STATE).write_text(json.dumps({"step": step}) + "\n", encoding="utf-8")
    return final


@contextmanager
def new_folder(final: Path) -> Generator[Path]:
    """A hidden folder to write into, which becomes ``final`` when everything in it is on the disk.

    If writing fails, nothing is left. Raises OSError if ``final`` has files already.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    unfinished = final.parent / f".tmp-{final.name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        yield unfinished
        for name in os.listdir(unfinished):
            _sync(unfinished / name)
        unfinished.rename(final)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    _sync(final.parent)


def newest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint with the most steps below ``folder``, or None."""
    return max(folder.glob("step-" + "[0-9]" * 8), default=None)


def step_of(checkpoint: Path) -> int:
    """How many updates a checkpoint is the result of. Raises InputError if it cannot be read."""
    try:
        return int(json.loads((checkpoint / STATE).read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{checkpoint / STATE}: cannot be read ({error}); use an older checkpoint") from error


def load_model(checkpoint: Path, model: nn.Module) -> None:
    """Put a checkpoint's weights into a model. Raises InputError if a tensor is missing, unexpected or misshapen."""
    put_tensors(read_tensors(checkpoint / MODEL), model, place=str(checkpoint / MODEL))


def put_tensors(tensors: Mapping[str, Tensor], model: nn.Module, *, place: str) -> None:
    """Put tensors from a place into a model. Raises InputError if one is missing, unexpected or misshapen."""
    faults = list(misfits(model, tensors).values())
    if faults:
        raise InputError(f"{place}: does not fit the spec: {'; '.join(faults[:5])}" + _more(faults[5:]))
    model.load_state_dict(tensors)


def misfits(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """What is wrong with tensors that are to be a model's: for the name of each that is missing, unexpected or of
    another shape, a sentence. Nothing if they fit."""
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    faults = {name: f"{name} is missing" for name in expected if name not in tensors}
    faults |= {name: f"{name} is unexpected" for name in tensors if name not in expected}
    faults |= {
        name: f"{name} is {tuple(tensors[name].shape)}, not {tuple(shape)}"
        for name, shape in expected.items()
        if name in tensors and tensors[name].shape != shape
    }
    return faults


def load_optimizer(checkpoint: Path, model: nn.Module, optimizer: Optimizer) -> None:
    """Put a checkpoint's averages into an optimiser of the same model. Raises InputError if they do not fit."""
    stored = read_tensors(checkpoint / OPTIMIZER)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    state: dict[int, dict[str, Any]] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, tensor in stored.items():
        name, _, field = key.rpartition("/")
        by_name.setdefault(name, {})[field] = tensor
    for index, parameter in enumerate(parameters):
        fields = by_name.pop(names[id(parameter)], None)
        if fields is None:
            continue
        if any(field != "step" and tensor.shape != parameter.shape for field, tensor in fields.items()):
            raise InputError(f"{checkpoint / OPTIMIZER}: {names[id(parameter)]} has another shape in the spec")
        state[index] = dict(fields)
    if by_name:
        raise InputError(f"{checkpoint / OPTIMIZER}: {next(iter(by_name))} is not in the model")
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file. Raises InputError if there is none, or it is damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as safetensors ({error})") from error


def _optimizer_tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"{names[id(parameter)]}/{field}": value
        for parameter, fields in optimizer.state.items()
        for field, value in fields.items()
        if isinstance(value, torch.Tensor)
    }


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors, which may not share memory, to a safetensors file that says that they are torch's."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _more(rest: list[str]) -> str:
    return f"; and {len(rest)} more" if rest else ""
