"""A run's state on disk: tensors in safetensors, the rest in YAML and JSON, complete or absent."""

from __future__ import annotations

import json
import os
import shutil
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
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".tmp-{final.name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    _save_tensors(model.state_dict(), unfinished / MODEL)
    _save_tensors(_optimizer_tensors(model, optimizer), unfinished / OPTIMIZER)
    (unfinished / SPEC).write_text(spec_yaml, encoding="utf-8")
    (unfinished / STATE).write_text(json.dumps({"step": step}) + "\n", encoding="utf-8")
    for name in os.listdir(unfinished):
        _sync(unfinished / name)
    unfinished.rename(final)
    _sync(folder)
    return final


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
    tensors = read_tensors(checkpoint / MODEL)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    faults = [f"{name} is missing" for name in expected if name not in tensors]
    faults += [f"{name} is unexpected" for name in tensors if name not in expected]
    faults += [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(shape)}"
        for name, shape in expected.items()
        if name in tensors and tensors[name].shape != shape
    ]
    if faults:
        raise InputError(f"{checkpoint / MODEL}: does not fit the spec: {'; '.join(faults[:5])}" + _more(faults[5:]))
    model.load_state_dict(tensors)


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


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _more(rest: list[str]) -> str:
    return f"; and {len(rest)} more" if rest else ""
