"""Tensors in safetensors files, and whether they are a model's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...errors import InputError


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors, which may not share memory, to a safetensors file that says that they are torch's."""
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file. Raises InputError if there is none, or it is damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as safetensors ({error})") from error


def check_fit(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, place: str, exactly: bool = False
) -> None:
    """Raises InputError, which begins with ``place``, if a tensor is missing, unexpected or of another shape; if they
    have to fit ``exactly``, also if one is of another type."""
    faults = misfits(tensors, expected)
    if exactly:
        faults |= {
            name: f"{name} is {_type(tensors[name])}, not {_type(tensor)}"
            for name, tensor in expected.items()
            if name not in faults and tensors[name].dtype != tensor.dtype
        }
    if faults:
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise InputError(f"{place}: does not fit the spec: {'; '.join(list(faults.values())[:5])}{more}")


def put_tensors(tensors: Mapping[str, Tensor], model: nn.Module, *, place: str) -> None:
    """Put tensors from a place into a model, all or none. Raises InputError if they do not fit."""
    check_fit(tensors, model.state_dict(), place=place)
    model.load_state_dict(tensors)


def misfits(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, str]:
    """What is wrong with tensors that are to take the place of others: for the name of each that is missing, unexpected
    or of another shape, a sentence. Nothing if they fit."""
    faults = {name: f"{name} is missing" for name in expected if name not in tensors}
    faults |= {name: f"{name} is unexpected" for name in tensors if name not in expected}
    faults |= {
        name: f"{name} is {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    }
    return faults


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
