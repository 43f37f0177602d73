"""What a checkpoint consists of, in which order it comes about, and which are kept."""

import errno
import json
import os
from pathlib import Path

import pytest
from train.small_state import save, small_state, trained

from flava_parts.train.checkpoints import saving
from flava_parts.train.checkpoints.failpoints import ARMED, FAILPOINTS
from flava_parts.train.checkpoints.loading import newest_checkpoint, what_is_wrong
from flava_parts.train.checkpoints.saving import CheckpointError, Checkpoints


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_files_of_a_checkpoint(tmp_path: Path) -> None:
    """Tensors in safetensors, the rest in JSON and YAML, and what it was made with travels inside."""
    path = Checkpoints(tmp_path, "seed: 7\n", made_with={"threads": 1, "torch": "2.14"}).save(
        trained(3).tensors(), trained(3).facts(), {"top1": 0.5}
    )
    state = json.loads((path / "state.json").read_text())

    assert "step-00000003" == path.name
    assert ["MANIFEST.json", "model.safetensors", "optimizer.safetensors", "spec.yaml", "state.json"] == names(path)
    assert "seed: 7\n" == (path / "spec.yaml").read_text()
    assert (2, 3) == (state["format"], state["step"])
    assert {"top1": 0.5} == state["measures"]
    assert {"threads": 1, "torch": "2.14"} == state["made_with"]
    assert [0.1] == [group["lr"] for group in state["param_groups"]]
    assert "step-00000003\n" == (tmp_path / "LATEST").read_text()


def test_a_checkpoint_that_is_whole_is_never_written_again(tmp_path: Path) -> None:
    path = save(tmp_path, trained(2))
    before = {file: (path / file).stat().st_mtime_ns for file in names(path)}
    (tmp_path / ".tmp-step-00000001").mkdir()
    (tmp_path / "LATEST").write_text("step-00000001\n")
    again = save(tmp_path, trained(2, seed=1))

    assert path == again
    assert ["LATEST", "step-00000002"] == names(tmp_path)
    assert "step-00000002\n" == (tmp_path / "LATEST").read_text()
    assert before == {file: (path / file).stat().st_mtime_ns for file in names(path)}


def test_one_that_is_damaged_is_moved_aside_and_written_anew(tmp_path: Path) -> None:
    path = save(tmp_path, trained(2))
    (path / "model.safetensors").write_bytes(b"half")
    save(tmp_path, trained(2))
    aside = [name for name in names(tmp_path) if name.startswith(".corrupt-step-00000002-")]

    assert what_is_wrong(path) is None
    assert 1 == len(aside)
    assert b"half" == (tmp_path / aside[0] / "model.safetensors").read_bytes()


def test_what_was_left_unfinished_goes_with_the_next_save(tmp_path: Path) -> None:
    (tmp_path / ".tmp-step-00000009-ab").mkdir()
    (tmp_path / ".tmp-step-00000009-ab" / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".tmp-LATEST").write_text("step-00000009\n")

    assert newest_checkpoint(tmp_path) is None

    save(tmp_path, trained(1))

    assert ["LATEST", "step-00000001"] == names(tmp_path)


def test_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    """Of six checkpoints the two newest, and the best by a measure, which is never pruned."""
    checkpoints = Checkpoints(tmp_path, "{}\n", keep_last=2, keep_best="top1")
    state = small_state()
    for step, top1 in enumerate([0.1, 0.9, 0.3, None, 0.2, 0.4], start=1):
        state.step = step
        checkpoints.save(state.tensors(), state.facts(), {} if top1 is None else {"top1": top1})

    assert ["LATEST", "step-00000002", "step-00000005", "step-00000006"] == names(tmp_path)


def test_all_are_kept_if_nobody_says_otherwise(tmp_path: Path) -> None:
    state = small_state()
    for state.step in range(1, 6):
        save(tmp_path, state)

    assert 6 == len(names(tmp_path))


def test_nothing_goes_before_the_new_one_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of a save: files, their syncing, manifest last, the name, `LATEST`, and only then pruning."""
    done: list[str] = []
    for primitive in ("make_folder", "write_tensors", "write_text", "sync", "rename", "remove"):
        original = getattr(saving.atomic_io, primitive)

        def recorded(path: Path, *rest: object, original=original, primitive=primitive) -> None:
            name = path.name if not path.name.startswith(".tmp-step") else "TMP"
            done.append(f"{primitive} {name}")
            original(path, *rest)

        monkeypatch.setattr(saving.atomic_io, primitive, recorded)
    state = small_state()
    for state.step in (1, 2):
        done.clear()
        save(tmp_path, state, keep_last=1)

    assert [
        "make_folder TMP",
        "write_tensors model.safetensors",
        "sync model.safetensors",
        "write_tensors optimizer.safetensors",
        "sync optimizer.safetensors",
        "write_text spec.yaml",
        "sync spec.yaml",
        "write_text state.json",
        "sync state.json",
        "write_text MANIFEST.json",
        "sync MANIFEST.json",
        "sync TMP",
        "rename TMP",
        f"sync {tmp_path.name}",
        "write_text .tmp-LATEST",
        "sync .tmp-LATEST",
        "rename .tmp-LATEST",
        f"sync {tmp_path.name}",
        "rename step-00000001",
        "remove TMP",
    ] == done


@pytest.mark.parametrize(
    ("place", "failure"),
    [*((place, "ENOSPC") for place in FAILPOINTS), ("save_begun", "EROFS"), ("tensors_synced", "EIO")],
)
def test_a_disk_that_fails_is_one_line_and_the_old_checkpoint_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, failure: str
) -> None:
    """At every place of a save; when the disk works again, the next save succeeds and nothing is left over."""
    save(tmp_path, trained(1))
    old = save(tmp_path, trained(2))
    monkeypatch.setenv(ARMED, f"{place}={failure}")
    with pytest.raises(CheckpointError) as caught:
        save(tmp_path, trained(3), keep_last=2)

    assert 1 == len(str(caught.value).splitlines())
    assert os.strerror(getattr(errno, failure)) in str(caught.value)
    assert what_is_wrong(old) is None
    assert newest_checkpoint(tmp_path) in (old, tmp_path / "step-00000003")

    monkeypatch.delenv(ARMED)
    save(tmp_path, trained(4), keep_last=2)

    assert "step-00000004" == newest_checkpoint(tmp_path).name
    assert [] == [name for name in names(tmp_path) if name.startswith(".")]


def test_a_failpoint_of_another_process_or_place_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ARMED, "renamed=die@1")

    assert "step-00000001" == save(tmp_path, trained(1)).name
