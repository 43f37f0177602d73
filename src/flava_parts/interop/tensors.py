"""Tensors in files: named at once, read when they are asked for, from memory-mapped files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import InputError

if TYPE_CHECKING:
    from ..train.checkpoints.parts import TensorGroup

INDEX = "model.safetensors.index.json"
PICKLED = (".pt", ".pth", ".bin", ".ckpt")
"""Endings of files that torch writes."""


class SafetensorFiles(Mapping[str, Tensor]):
    """Tensors by name in safetensors files. A tensor is a view of its file, whose bytes are read where it is used."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = dict(files)
        self._open: dict[Path, Any] = {}

    @classmethod
    def of_file(cls, path: Path) -> SafetensorFiles:
        """All tensors of one file. Raises InputError if it is missing or damaged."""
        return cls(dict.fromkeys(_opened(path).keys(), path))

    @classmethod
    def of_index(cls, path: Path) -> SafetensorFiles:
        """The tensors that an index tells to lie in shards beside it.

        Raises InputError if it cannot be read, or names a shard that is not a file's mere name.
        """
        places = read_json(path).get("weight_map")
        if not isinstance(places, dict) or not places:
            raise InputError(f"{path}: has no weight_map, so it is no index of shards; save the model again")
        files: dict[str, Path] = {}
        for name, shard in cast(dict[str, object], places).items():
            if not isinstance(shard, str) or Path(shard).name != shard or "\\" in shard or shard in ("", ".", ".."):
                raise InputError(f"{path}: names a shard {shard!r}, but shards lie beside their index; save it again")
            files[name] = path.parent / shard
        return cls(files)

    def __getitem__(self, name: str) -> Tensor:
        path = self._files[name]
        if path not in self._open:
            if not path.is_file():
                raise InputError(f"{path}: is missing, though the index beside it names it; fetch the model again")
            self._open[path] = _opened(path)
        try:
            return self._open[path].get_tensor(name)
        except SafetensorError as error:
            raise InputError(f"{path}: {name} cannot be read ({error}); fetch the model again") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


class TogetherParts(Mapping[str, Tensor]):
    """Tensors whose parts lie in several files: all are put together in memory when one is asked for."""

    def __init__(self, group: TensorGroup, names: Collection[str] | None = None) -> None:
        """Those of ``names``, all if not given."""
        self._group = group
        self._names = list(group.outline if names is None else names)

    def only(self, names: Collection[str]) -> TogetherParts:
        """Some of them."""
        return TogetherParts(self._group, names)

    @cached_property
    def _whole(self) -> dict[str, Tensor]:
        whole = {name: torch.empty_like(self._group.outline[name], device="cpu") for name in self._names}
        self._group.read(whole)
        return whole

    def __getitem__(self, name: str) -> Tensor:
        return self._whole[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def read_pickled(path: Path) -> Mapping[str, Tensor]:
    """The state dict that torch saved in a file, alone or as a checkpoint's ``state_dict`` or ``model``.

    Only tensors are read: anything that could run code is refused. Raises InputError for that, and for a file that is
    missing, damaged, or without a state dict.
    """
    try:
        loaded: object = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a crafted file can make the reader raise anything
        if type(error).__name__ == "UnpicklingError":
            raise InputError(
                f"{path}: holds more than tensors, and reading that could run code; save model.state_dict() by itself"
            ) from error
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path}: cannot be read as a file of torch ({reason}); fetch or save it again") from error
    found = _mapping(loaded)
    for state in (found, _mapping(found.get("state_dict")), _mapping(found.get("model"))):
        tensors = {name: value for name, value in state.items() if isinstance(name, str) and isinstance(value, Tensor)}
        if tensors:
            return tensors
    raise InputError(f"{path}: holds no state dict; save model.state_dict() by itself")


def read_json(path: Path) -> dict[str, Any]:
    """An object of JSON. Raises InputError if the file is missing or holds anything else."""
    try:
        found: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); fetch the model again") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: should be an object, not a {type(found).__name__}")
    return cast(dict[str, Any], found)


def _mapping(value: object) -> dict[object, object]:
    return cast(dict[object, object], value) if isinstance(value, dict) else {}


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read as safetensors ({error}); fetch or save it again") from error
