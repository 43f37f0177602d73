"""Where a run goes on from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ..errors import InputError
from ..loading import load_finetune, load_run
from ..registry import Registry
from ..spec import FinetuneSpec, RunSpec
from .checkpoints.layout import CHECKPOINTS, SPEC
from .checkpoints.loading import Checkpoint, newest_checkpoint, open_checkpoint, set_aside_later, verify
from .checkpoints.saving import Checkpoints
from .checkpoints.surroundings import differences
from .ranks import Ranks


class Restorable(Protocol):
    """A state of training that can become that of a checkpoint."""

    step: int

    def restore(self, checkpoint: Checkpoint, *, optimizer: bool = True) -> None:
        """Become what the checkpoint holds, the optimiser's averages only if asked, or raise InputError and stay."""


def checkpoint_of(
    folder: Path, resume: str | Path, *, say: Callable[[str], None], ranks: Ranks | None = None
) -> Path | None:
    """The checkpoint that ``--resume`` means: `auto` the newest whole one in the folder, `never` none, else the one at
    that path. It is whole; several processes share the work of seeing to that.

    Raises InputError if there is nothing at the path, or it is damaged, if `never` meets a folder that has a checkpoint
    already, or if every checkpoint of the folder is damaged. Damaged ones that are passed over are told of by ``say``.
    """
    if str(resume) == "auto":
        return newest_checkpoint(folder / CHECKPOINTS, say=say, ranks=ranks)
    if str(resume) == "never":
        if newest_checkpoint(folder / CHECKPOINTS, say=say, ranks=ranks) is not None:
            raise InputError(f"{folder}: holds a run already; choose another --out, or go on with --resume auto")
        return None
    if not (Path(resume) / SPEC).is_file():
        raise InputError(f"{resume}: is not a checkpoint; `auto` finds the newest of --out")
    verify(Path(resume), ranks=ranks)
    return Path(resume)


def go_on(
    state: Restorable,
    path: Path,
    checkpoints: Checkpoints,
    spec: RunSpec | FinetuneSpec,
    *,
    registry: Registry,
    say: Callable[[str], None],
) -> None:
    """Put a run where its checkpoint, which was verified, was written. Raises InputError if it does not fit the spec.

    What the spec now says otherwise is the spec's: the optimiser's numbers, the optimiser itself, which then begins
    anew, and the precision. Other versions or threads than those that the checkpoint was made with are told of:
    numbers may differ then.
    """
    checkpoint = open_checkpoint(path)
    optimizer = spec.train.optimizer.type_name()
    before = optimizer
    if (path / SPEC).read_text(encoding="utf-8") != checkpoints.spec_yaml:
        checkpoint.facts.pop("param_groups", None)
        if spec.train.precision not in ("auto", checkpoint.facts.get("precision", {}).get("choice")):
            checkpoint.facts.pop("precision", None)
        before = _optimizer_of(path / SPEC, spec, registry)
    state.restore(checkpoint, optimizer=optimizer == before)
    if optimizer != before:
        say(f"{path} was made with {before}: {optimizer} begins anew, with no averages")
    other = differences(checkpoint.facts.get("made_with", {}), checkpoints.made_with)
    if other:
        say(f"warning: {path} was made with {'; '.join(other)}: losses may differ in their last bits")
    if checkpoints.ranks.rank == 0 and path.resolve().parent == checkpoints.folder.resolve():
        set_aside_later(checkpoints.folder, state.step, say=say)
    say(f"going on from {path}, after step {state.step}")


def _optimizer_of(path: Path, spec: RunSpec | FinetuneSpec, registry: Registry) -> str:
    read = load_run if isinstance(spec, RunSpec) else load_finetune
    return read(path, registry=registry).train.optimizer.type_name()
