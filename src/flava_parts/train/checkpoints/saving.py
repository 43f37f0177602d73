"""Writing a checkpoint: into a hidden folder, agreed on by all processes, named by one of them when it is whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException

from ...errors import FlavaPartsError
from ..ranks import OneProcess, Ranks
from . import atomic_io
from .atomic_io import HIDDEN
from .failpoints import failpoint
from .layout import FORMAT, LATEST, SPEC, STATE, file_of, name_of
from .loading import checkpoints_in, measured, what_is_wrong
from .manifest import MANIFEST, Entry, entries_of, manifest_of
from .parts import cause, in_parts, write_parts


class CheckpointError(FlavaPartsError):
    """A checkpoint could not be written. Those before it are as they were."""


@dataclass
class Checkpoints:
    """Where a run keeps its checkpoints, and which of them."""

    folder: Path
    """Holds a folder for each, ``step-00000300``, and the name of the newest in a file ``LATEST``."""
    spec_yaml: str
    """The resolved spec, which travels inside."""
    made_with: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What else the numbers depend on, which travels inside: see `surroundings`."""
    ranks: Ranks = field(default_factory=OneProcess)
    """The processes that write together."""
    keep_last: int | None = None
    """How many of the newest are kept; all if None."""
    keep_best: str | None = None
    """The best by this measure is kept too."""

    def save(
        self,
        tensors: Mapping[str, Mapping[str, Tensor]],
        facts: Mapping[str, Any],
        measures: Mapping[str, float] | None = None,
    ) -> Path:
        """Write a checkpoint and remove those that are not to be kept. Called by all processes at the same step.

        Args:
            tensors: by group and name, the same ones in every process. A group becomes ``<group>.safetensors``, which
                the first process writes, or, if there are DTensors in it, a folder ``<group>``, into which each
                process writes its parts.
            facts: what `state.json` holds beside the tensors, from the first process; at least ``step``.
            measures: the last evaluation, if there is one of this step, for ``keep_best``.

        The order is what makes it safe: every process writes its files and sees that they are on the disk; all agree
        that this succeeded; the first writes `state.json` and, last, the manifest, and then gives the folder its name;
        only then is `LATEST` replaced, and only then is anything removed. A checkpoint of the same step that is whole
        is left as it is; one that is not is moved aside, to ``.corrupt-…``.

        Raises CheckpointError, in all processes, if any of them could not write.
        """
        step, first = int(facts["step"]), self.ranks.rank == 0
        final = self.folder / name_of(step)
        if not self.ranks.any_failed(first and final.exists() and what_is_wrong(final) is None):
            self._write(final, step, tensors, facts, measures or {})
        self._together(step, lambda: self._announce(final) if first else None)
        return final

    def _write(
        self,
        final: Path,
        step: int,
        tensors: Mapping[str, Mapping[str, Tensor]],
        facts: Mapping[str, Any],
        measures: Mapping[str, float],
    ) -> None:
        first, token = self.ranks.rank == 0, self.ranks.of_first(uuid4().int >> 65)
        unfinished = self.folder / f"{HIDDEN}{final.name}-{token:016x}"
        written: dict[str, Entry] = {}
        try:
            self._together(step, lambda: self._prepare(unfinished) if first else None)
            for group in tensors:
                # One by one: whoever fails at one must not keep the others waiting at the next.
                path = unfinished / group
                self._together(step, lambda path=path: written.update(self._written(path, tensors[path.name])))
            for others in self.ranks.of_all(json.dumps(written)):
                written.update(json.loads(others))
            self._together(step, lambda: self._finish(unfinished, final, facts, measures, written))
        except CheckpointError:
            if first:
                atomic_io.remove(unfinished)
            raise

    def _prepare(self, unfinished: Path) -> None:
        self._at("save_begun")
        if not self.folder.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            atomic_io.sync(self.folder.parent)
        atomic_io.remove_hidden(self.folder)
        atomic_io.make_folder(unfinished)
        self._at("folder_made")

    def _written(self, folder: Path, tensors: Mapping[str, Tensor]) -> dict[str, Entry]:
        """Write a group of tensors into a folder, or into a file of the folder's name; what this process wrote."""
        if in_parts(tensors):
            files = [*write_parts(folder, tensors, self.ranks.group), folder]
        elif self.ranks.rank == 0:
            files = [folder.with_name(file_of(folder.name))]
            atomic_io.write_tensors(files[0], tensors)
        else:
            files = []
        self._at("tensors_written")
        for path in files:
            atomic_io.sync(path)
        self._at("tensors_synced")
        return entries_of(folder.parent, (path for path in files if path != folder))

    def _finish(
        self,
        unfinished: Path,
        final: Path,
        facts: Mapping[str, Any],
        measures: Mapping[str, float],
        written: Mapping[str, Entry],
    ) -> None:
        self._at("tensors_agreed")
        if self.ranks.rank:
            return
        atomic_io.write_text(unfinished / SPEC, self.spec_yaml)
        atomic_io.sync(unfinished / SPEC)
        self._at("spec_written")
        state = {"format": FORMAT, **facts, "measures": dict(measures), "made_with": dict(self.made_with)}
        atomic_io.write_text(unfinished / STATE, json.dumps(state, indent=2) + "\n")
        atomic_io.sync(unfinished / STATE)
        self._at("state_written")
        atomic_io.write_text(unfinished / MANIFEST, manifest_of(unfinished, written))
        atomic_io.sync(unfinished / MANIFEST)
        self._at("manifest_written")
        atomic_io.sync(unfinished)
        self._at("folder_synced")
        if final.exists():
            atomic_io.rename(final, self.folder / f".corrupt-{final.name}-{uuid4().hex[:16]}")
        atomic_io.rename(unfinished, final)
        self._at("renamed")
        atomic_io.sync(self.folder)
        self._at("parent_synced")

    def _announce(self, final: Path) -> None:
        atomic_io.remove_hidden(self.folder)
        hidden = self.folder / f"{HIDDEN}{LATEST}"
        atomic_io.write_text(hidden, final.name + "\n")
        atomic_io.sync(hidden)
        self._at("latest_written")
        atomic_io.rename(hidden, self.folder / LATEST)
        atomic_io.sync(self.folder)
        self._at("latest_replaced")
        self._prune(final)
        self._at("save_ended")

    def _prune(self, newest: Path) -> None:
        """Remove what is not to be kept, each hidden before it goes, so that nobody finds a half of it."""
        if self.keep_last is None:
            return
        found = checkpoints_in(self.folder)
        kept = {newest, *found[-self.keep_last :]}
        if self.keep_best is not None:
            scored = [(score, path) for path in found if (score := measured(path, self.keep_best)) is not None]
            kept |= {max(scored)[1]} if scored else set()
        for path in found:
            if path not in kept:
                self._at("pruning")
                hidden = self.folder / f"{HIDDEN}{path.name}"
                atomic_io.rename(path, hidden)
                self._at("pruned_hidden")
                atomic_io.remove(hidden)

    def _at(self, place: str) -> None:
        failpoint(place, rank=self.ranks.rank)

    def _together(self, step: int, do: Callable[[], None]) -> None:
        """Do something in every process, and fail in all of them if it fails in one."""
        failure = None
        try:
            do()
        except (Exception, CheckpointException) as error:
            failure = error
        if self.ranks.any_failed(failure is not None):
            reason = _reason(failure) if failure is not None else "another process failed"
            raise CheckpointError(
                f"{self.folder}: no checkpoint of step {step} could be written ({reason}); those before it are whole"
            ) from failure


def _reason(error: BaseException) -> str:
    first = cause(error)
    return " ".join(str(first).split()) or type(first).__name__
