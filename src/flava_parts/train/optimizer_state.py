"""What an optimiser remembers, by the names of the parameters: tensors to keep, and to put back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..errors import InputError

STEP = "step"
"""The field in which torch's optimisers count, on the CPU, how often they moved a parameter."""


def optimizer_tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Every tensor that the optimiser keeps of a parameter, named ``<parameter>/<field>``: ``head.weight/exp_avg``."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"{names[id(parameter)]}/{field}": value
        for parameter, fields in optimizer.state.items()
        for field, value in fields.items()
        if isinstance(value, Tensor)
    }


def optimizer_scalars(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The numbers, words and truth values of each parameter group, such as its learning rate."""
    return [
        {key: value for key, value in group.items() if isinstance(value, bool | int | float | str)}
        for group in optimizer.param_groups
    ]


def put_scalars(scalars: Sequence[Mapping[str, Any]], optimizer: Optimizer) -> None:
    """Put back what `optimizer_scalars` gave, as far as the groups have it."""
    for group, stored in zip(optimizer.param_groups, scalars, strict=False):
        group.update({key: value for key, value in stored.items() if key in group})


def empty_tensors(model: nn.Module, outline: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors to be filled with what `optimizer_tensors` gave, of the shapes and types of ``outline``.

    What is like its parameter is where that is, on its device, and in parts if it is. Counts of steps are on the CPU.
    """
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    found: dict[str, Tensor] = {}
    for key, tensor in outline.items():
        name, _, field = key.rpartition("/")
        like = parameters.get(name)
        if like is None or like.shape != tensor.shape or field == STEP:
            found[key] = torch.empty_like(tensor, device="cpu")
        else:
            found[key] = torch.empty_like(like, dtype=tensor.dtype)
    return found


def optimizer_state(
    model: nn.Module, optimizer: Optimizer, tensors: Mapping[str, Tensor], *, place: str
) -> dict[str, Any]:
    """What ``optimizer.load_state_dict`` takes, made of what `optimizer_tensors` gave.

    Raises InputError, which begins with ``place``, if a tensor is of no parameter, or of another shape than it.
    """
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, field = key.rpartition("/")
        by_name.setdefault(name, {})[field] = tensor
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    state: dict[int, dict[str, Tensor]] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, parameter in enumerate(parameters):
        fields = by_name.pop(names[id(parameter)], None)
        if fields is None:
            continue
        # Factored averages have fewer dimensions than their parameter, and counts of steps none.
        if any(tensor.ndim == parameter.ndim and tensor.shape != parameter.shape for tensor in fields.values()):
            raise InputError(f"{place}: {names[id(parameter)]} has another shape in the spec")
        state[index] = fields
    if by_name:
        raise InputError(f"{place}: {next(iter(by_name))} is not in the model")
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
