"""A power cut at any moment leaves a whole checkpoint, whatever the disk had not got round to.

A model of a disk records what a save does. A file's content is safe once the file was synced, a folder's list of names
once the folder was; until then any part of a content and any selection of the changes to a list may be lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from train.small_state import equal, save, small_state, trained

from flava_parts.train.checkpoints import atomic_io
from flava_parts.train.checkpoints.loading import newest_checkpoint, open_checkpoint


@dataclass
class File:
    """A file: what was written, and whether that is on the disk."""

    data: bytes
    synced: bool = False


@dataclass
class Folder:
    """A folder: the names that are on the disk, and what was changed about them since."""

    safe: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[dict[str, File | Folder | None]] = field(default_factory=list)

    def now(self) -> dict[str, File | Folder]:
        return applied(self.safe, self.pending)


def applied(names: dict, changes: list[dict]) -> dict:
    for change in changes:
        names = {name: node for name, node in {**names, **change}.items() if node is not None}
    return names


class Disk:
    """Follows the primitives of `atomic_io`, which go on doing what they do."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.top = Folder()

    def folder(self, path: Path) -> Folder:
        node = self.top
        for part in path.relative_to(self.root).parts:
            child = node.now()[part]
            assert isinstance(child, Folder)
            node = child
        return node

    def make_folder(self, path: Path) -> None:
        self.folder(path.parent).pending.append({path.name: Folder()})

    def written(self, path: Path) -> None:
        self.folder(path.parent).pending.append({path.name: File(path.read_bytes())})

    def sync(self, path: Path) -> None:
        if path == self.root or isinstance(self.folder(path.parent).now()[path.name], Folder):
            folder = self.folder(path)
            folder.safe, folder.pending = folder.now(), []
        else:
            file = self.folder(path.parent).now()[path.name]
            assert isinstance(file, File)
            file.synced = True

    def rename(self, path: Path, new: Path) -> None:
        folder = self.folder(path.parent)
        folder.pending.append({path.name: None, new.name: folder.now()[path.name]})

    def remove(self, path: Path) -> None:
        node = self.folder(path.parent).now().get(path.name)
        if isinstance(node, Folder):
            node.pending += [{name: None} for name in node.now()]
        self.folder(path.parent).pending.append({path.name: None})


def after_power_cut(node: Folder, place: Path, data: st.DataObject) -> None:
    """Write what a disk holds after a power cut: what is safe, and of the rest what is drawn."""
    place.mkdir()
    survived = [change for change in node.pending if data.draw(st.booleans())]
    for name, child in applied(node.safe, survived).items():
        if isinstance(child, Folder):
            after_power_cut(child, place / name, data)
        else:
            kept = len(child.data) if child.synced else data.draw(st.integers(0, len(child.data)))
            (place / name).write_bytes(child.data[:kept])


class CutError(Exception):
    """The power is gone."""


def saves_until(cut: int, root: Path, monkeypatch: pytest.MonkeyPatch, left_out: str = "") -> tuple[Disk, int]:
    """Save steps 1, 2, 3, ... keeping one, until so many primitives were carried out; the disk, and the last step that
    was saved. ``left_out`` is a primitive that a careless save would do without."""
    disk, done = Disk(root), 0
    for name, follow in (
        ("make_folder", disk.make_folder),
        ("write_tensors", lambda path, *_: disk.written(path)),
        ("write_text", lambda path, *_: disk.written(path)),
        ("sync", disk.sync),
        ("rename", disk.rename),
        ("remove", disk.remove),
    ):
        original = getattr(atomic_io, name)

        def primitive(*arguments, original=original, follow=follow, name=name):
            nonlocal done
            if done == cut:
                raise CutError
            done += 1
            if name in ("rename", "remove"):  # followed while the path is still there
                follow(*arguments)
            original(*arguments)
            if name not in ("rename", "remove", left_out):
                follow(*arguments)

        monkeypatch.setattr(atomic_io, name, primitive)
    saved = 0
    monkeypatch.setattr("flava_parts.train.checkpoints.saving.Checkpoints._together", lambda self, step, do: do())
    try:
        for step in range(1, 4):
            save(root, trained(step), keep_last=1)
            saved = step
    except CutError:
        pass
    finally:
        monkeypatch.undo()
    return disk, saved


SAVE = 20
"""Primitives of one save, about; three of them are cut somewhere."""


@given(cut=st.integers(0, 3 * SAVE), data=st.data())
@settings(max_examples=max(30, settings.default.max_examples))
def test_a_whole_checkpoint_remains(cut: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The last that was saved, or the one that was being saved, loads bit for bit."""
    root = tmp_path_factory.mktemp("disk")
    with pytest.MonkeyPatch.context() as monkeypatch:
        disk, saved = saves_until(cut, root, monkeypatch)
    after_power_cut(disk.top, tmp_path_factory.mktemp("after") / "disk", data)
    after = sorted(tmp_path_factory.getbasetemp().glob("after*"), key=lambda path: path.stat().st_mtime_ns)[-1] / "disk"
    if saved == 0 and not list(after.glob("step-*")):
        return
    newest = newest_checkpoint(after, say=lambda _: None)

    assert newest is not None
    state = small_state(seed=1)
    state.restore(open_checkpoint(newest))
    assert state.step in (saved, saved + 1)
    assert equal(trained(state.step), state)


def test_without_syncing_there_would_be_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model of the disk can lose a checkpoint: if nothing was ever synced, nothing is safe."""
    disk, saved = saves_until(1000, tmp_path, monkeypatch, left_out="sync")

    assert 3 == saved
    assert {"step-00000003", "LATEST"} == disk.top.now().keys()
    assert {} == disk.top.safe
