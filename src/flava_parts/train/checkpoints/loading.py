"""Reading checkpoints, none of which is believed before it is verified."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from safetensors import SafetensorError, safe_open

from ...errors import InputError
from ..ranks import OneProcess, Ranks
from .atomic_io import rename
from .layout import FORMAT, MODEL, OPTIMIZER, PATTERN, STATE, file_of, group_of
from .manifest import MANIFEST, damage, files_named

if TYPE_CHECKING:
    from .parts import TensorGroup


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint holds."""

    path: Path
    facts: dict[str, Any]
    """What `state.json` says: ``step`` and what else the run gave."""

    def group(self, name: str) -> TensorGroup:
        """The tensors of a group, none if it has no such group. Raises InputError if they cannot be read."""
        return tensors_of(self.path, name)


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints of a folder by their steps, whole or not."""
    return sorted(
        (path for path in folder.glob(PATTERN) if path.name[5:].isdigit()), key=lambda path: int(path.name[5:])
    )


def newest_checkpoint(
    folder: Path,
    *,
    only: Collection[str] | None = None,
    say: Callable[[str], None] = warnings.warn,
    ranks: Ranks | None = None,
) -> Path | None:
    """The checkpoint below ``folder`` with the most steps that is whole, or None if there is no checkpoint.

    Each that is damaged is told of by ``say``. ``only`` names the files and folders that are needed, if not all are.
    Several processes share the work, and get the same answer. Raises InputError if there are checkpoints, and not one
    is whole.
    """
    ranks = ranks or OneProcess()
    damaged: list[str] = []
    names = ranks.of_all(json.dumps([path.name for path in checkpoints_in(folder)]))[0]
    for path in (folder / name for name in reversed(json.loads(names))):
        wrong = what_is_wrong(path, only, ranks=ranks)
        if wrong is None:
            for sentence in damaged:
                say(f"{sentence}; {path.name} is used instead")
            return path
        damaged.append(f"{path}: IS DAMAGED: {wrong}")
    if damaged:
        raise InputError(f"{damaged[0]}; no other checkpoint of {folder} is whole; choose another --out")
    return None


def what_is_wrong(checkpoint: Path, only: Collection[str] | None = None, *, ranks: Ranks | None = None) -> str | None:
    """What is wrong with a checkpoint, or None. Of one of the first format, which has no manifest, that every file has
    its whole length and can be read is all that can be said. Several processes each look at some of the files."""
    ranks = ranks or OneProcess()
    found = ranks.of_all(_what_is_wrong(checkpoint, only, share=(ranks.rank, ranks.size)) or "")
    return next((wrong for wrong in found if wrong), None)


def _what_is_wrong(checkpoint: Path, only: Collection[str] | None, *, share: tuple[int, int]) -> str | None:
    if (checkpoint / MANIFEST).exists() or _format(checkpoint) != 1:
        return damage(checkpoint, only, share)
    for path in (checkpoint / MODEL, checkpoint / OPTIMIZER):
        try:
            with safe_open(path, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            return f"{path.name} cannot be read ({error})"
    return None


def verify(checkpoint: Path, *, ranks: Ranks | None = None) -> None:
    """Raise InputError if anything in a checkpoint is not as it was written."""
    wrong = what_is_wrong(checkpoint, ranks=ranks)
    if wrong is not None:
        raise InputError(f"{checkpoint}: IS DAMAGED: {wrong}; use another checkpoint")


def open_checkpoint(checkpoint: Path) -> Checkpoint:
    """Open a checkpoint that was verified. Raises InputError if it cannot be read."""
    facts = _state(checkpoint)
    if facts is None or not isinstance(facts.get("step"), int):
        raise InputError(f"{checkpoint / STATE}: cannot be read; use another checkpoint")
    if facts.get("format", 1) not in (1, FORMAT):
        raise InputError(
            f"{checkpoint}: is of format {facts['format']}, which this version does not know; install a newer one"
        )
    return Checkpoint(checkpoint, facts)


def tensors_of(checkpoint: Path, group: str) -> TensorGroup:
    """A group of a checkpoint's tensors, in whatever files they are. Raises InputError if they cannot be read."""
    from .parts import TensorGroup  # torch's engine takes a second, which whoever looks for a checkpoint need not wait

    files = [name for name in _tensor_files(checkpoint) if group_of(name) == group]
    place = file_of(group) if files in ([], [file_of(group)]) else group
    return TensorGroup([checkpoint / name for name in files], checkpoint / place)


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


def _tensor_files(checkpoint: Path) -> list[str]:
    """The names that the manifest has, if there is one: a stranger's file is no group."""
    try:
        named = files_named(checkpoint)
    except FileNotFoundError:
        named = sorted(path.name for path in checkpoint.iterdir())
    except ValueError as error:
        raise InputError(f"{checkpoint / MANIFEST}: {error}; use another checkpoint") from error
    return [name for name in named if name.endswith(".safetensors")]


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
