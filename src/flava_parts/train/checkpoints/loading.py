"""Reading checkpoints, none of which is believed before it is verified."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...errors import InputError
from .atomic_io import rename
from .layout import FORMAT, MODEL, OPTIMIZER, PATTERN, STATE
from .manifest import MANIFEST, damage
from .tensor_files import read_tensors


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a verified checkpoint holds."""

    path: Path
    tensors: dict[str, dict[str, Tensor]]
    """By group (``model``, ``optimizer``, …) and name, on the CPU."""
    facts: dict[str, Any]
    """What `state.json` says: ``step`` and what else the run gave."""


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints of a folder by their steps, whole or not."""
    return sorted(
        (path for path in folder.glob(PATTERN) if path.name[5:].isdigit()), key=lambda path: int(path.name[5:])
    )


def newest_checkpoint(
    folder: Path, *, only: Collection[str] | None = None, say: Callable[[str], None] = warnings.warn
) -> Path | None:
    """The checkpoint below ``folder`` with the most steps that is whole, or None if there is no checkpoint.

    Each that is damaged is told of by ``say``. ``only`` names the files that are needed, if not all are. Raises
    InputError if there are checkpoints, and not one is whole.
    """
    damaged: list[str] = []
    for path in reversed(checkpoints_in(folder)):
        wrong = what_is_wrong(path, only)
        if wrong is None:
            for sentence in damaged:
                say(f"{sentence}; {path.name} is used instead")
            return path
        damaged.append(f"{path}: IS DAMAGED: {wrong}")
    if damaged:
        raise InputError(f"{damaged[0]}; no other checkpoint of {folder} is whole; choose another --out")
    return None


def what_is_wrong(checkpoint: Path, only: Collection[str] | None = None) -> str | None:
    """What is wrong with a checkpoint, or None. Of one of the first format, which has no manifest, that every file has
    its whole length and can be read is all that can be said."""
    if (checkpoint / MANIFEST).exists() or _format(checkpoint) != 1:
        return damage(checkpoint, only)
    for path in (checkpoint / MODEL, checkpoint / OPTIMIZER):
        try:
            with safe_open(path, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            return f"{path.name} cannot be read ({error})"
    return None


def open_checkpoint(checkpoint: Path) -> Checkpoint:
    """Read a checkpoint. Raises InputError if anything in it is not as it was written."""
    wrong = what_is_wrong(checkpoint)
    if wrong is not None:
        raise InputError(f"{checkpoint}: IS DAMAGED: {wrong}; use another checkpoint")
    facts = _state(checkpoint)
    if facts is None or not isinstance(facts.get("step"), int):
        raise InputError(f"{checkpoint / STATE}: cannot be read; use another checkpoint")
    if facts.get("format", 1) not in (1, FORMAT):
        raise InputError(
            f"{checkpoint}: is of format {facts['format']}, which this version does not know; install a newer one"
        )
    tensors = {path.stem: read_tensors(path) for path in _tensor_files(checkpoint)}
    return Checkpoint(checkpoint, tensors, facts)


def set_aside_later(folder: Path, step: int, *, say: Callable[[str], None]) -> None:
    """Hide the checkpoints of later steps, since a run is about to go on from ``step``: they are no part of it."""
    for path in checkpoints_in(folder):
        if int(path.name[5:]) > step:
            aside = path.with_name(f".superseded-{path.name}-{uuid4().hex[:16]}")
            rename(path, aside)
            say(f"{path} is later than step {step}, and set aside as {aside.name}")


def measured(checkpoint: Path, name: str) -> float | None:
    """What a measure was at a checkpoint, if it was taken."""
    value = ((_state(checkpoint) or {}).get("measures") or {}).get(name)
    return float(value) if isinstance(value, int | float) else None


def _tensor_files(checkpoint: Path) -> Iterator[Path]:
    """Those that the manifest names, if there is one: a stranger's file is no group."""
    try:
        named: Any = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))["files"]
    except FileNotFoundError:
        named = [path.name for path in checkpoint.iterdir()]
    yield from (checkpoint / name for name in sorted(named) if name.endswith(".safetensors"))


def _format(checkpoint: Path) -> int | None:
    """The format that a checkpoint says to have, or None if that cannot be read."""
    state = _state(checkpoint)
    return None if state is None else state.get("format", 1)


def _state(checkpoint: Path) -> dict[str, Any] | None:
    try:
        state: object = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return cast(dict[str, Any], state) if isinstance(state, dict) else None
