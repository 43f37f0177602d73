"""Loading believes nothing."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from train.small_state import equal, save, small_state, trained, update

from flava_parts.errors import InputError
from flava_parts.train.checkpoints.loading import (
    newest_checkpoint,
    open_checkpoint,
    set_aside_later,
    verify,
    what_is_wrong,
)
from flava_parts.train.checkpoints.manifest import MANIFEST, manifest_of
from flava_parts.train.resume import checkpoint_of

FILES = ("MANIFEST.json", "model.safetensors", "optimizer.safetensors", "spec.yaml", "state.json")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with checkpoints of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("checkpoints")
    save(folder, trained(1))
    save(folder, trained(2))
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def test_a_state_comes_back_bit_for_bit(folder: Path) -> None:
    """Two that continue from it make the same next update."""
    expected, actual = trained(2), small_state(seed=1)
    actual.restore(open_checkpoint(folder / "step-00000002"))

    assert equal(expected, actual)

    update(expected)
    update(actual)

    assert equal(expected, actual)


def test_the_newest_that_is_whole_is_used_and_the_others_are_told_of(folder: Path) -> None:
    said: list[str] = []

    assert "step-00000002" == newest_checkpoint(folder, say=said.append).name
    assert [] == said

    (folder / "step-00000002" / "state.json").write_text("{}")

    assert "step-00000001" == newest_checkpoint(folder, say=said.append).name
    assert 1 == len(said)
    assert "step-00000002: IS DAMAGED: state.json has 2 bytes" in said[0]
    assert "step-00000001 is used instead" in said[0]


def test_one_that_is_asked_for_is_verified_too(folder: Path) -> None:
    path = folder / "step-00000002"
    assert path == checkpoint_of(folder, path, say=print)

    (path / "optimizer.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match=r"step-00000002: IS DAMAGED: optimizer\.safetensors has 4 bytes"):
        checkpoint_of(folder, path, say=print)


def test_no_whole_checkpoint_is_an_error_but_no_checkpoint_is_none(folder: Path, tmp_path: Path) -> None:
    """Starting again from nothing over a run of weeks is nobody's wish."""
    for checkpoint in folder.glob("step-*"):
        (checkpoint / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model.safetensors is missing; no other checkpoint of .* is whole"):
        newest_checkpoint(folder)

    assert newest_checkpoint(tmp_path / "none") is None


@given(data=st.data())
@settings(max_examples=max(50, settings.default.max_examples))
def test_a_flipped_byte_or_a_truncation_anywhere_is_detected(data: st.DataObject, saved: Path) -> None:
    """Whatever the file, the place and the new byte; and then the checkpoint before it is used."""
    path = saved / "step-00000002" / data.draw(st.sampled_from(FILES))
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.booleans())
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
    path.write_bytes(whole[:place] if cut else whole[:place] + bytes([byte]) + whole[place + 1 :])
    try:
        assert what_is_wrong(path.parent) is not None
        with pytest.raises(InputError, match="IS DAMAGED"):
            verify(path.parent)
        assert "step-00000001" == newest_checkpoint(saved, say=lambda _: None).name
    finally:
        path.write_bytes(whole)

    assert what_is_wrong(path.parent) is None


def test_only_the_files_that_are_needed_are_verified(folder: Path) -> None:
    """Who wants the weights does not read the averages."""
    (folder / "step-00000002" / "optimizer.safetensors").write_bytes(b"")

    assert "step-00000002" == newest_checkpoint(folder, only=("model.safetensors", "spec.yaml")).name
    assert "step-00000001" == newest_checkpoint(folder, say=lambda _: None).name


def test_a_manifest_that_names_a_file_elsewhere_is_refused(folder: Path) -> None:
    checkpoint = folder / "step-00000002"
    files = json.loads((checkpoint / MANIFEST).read_text())["files"]
    files["../step-00000001/model.safetensors"] = files.pop("model.safetensors")
    (checkpoint / MANIFEST).write_text(json.dumps({"files": files}, indent=2, sort_keys=True) + "\n")

    assert "which is no file of the checkpoint" in what_is_wrong(checkpoint)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": []}', '{"files": {"a": 1}}', "[" * 100_000])
def test_a_manifest_that_is_none_is_damage(folder: Path, text: str) -> None:
    (folder / "step-00000002" / MANIFEST).write_text(text)

    assert what_is_wrong(folder / "step-00000002") is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("1.bias"), "1.bias is missing"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), "extra is unexpected"),
        (lambda tensors: tensors.update({"0.weight": torch.zeros(4, 5)}), r"0.weight is \(4, 5\), not \(4, 3\)"),
        (lambda tensors: tensors.update({"0.bias": torch.zeros(4).half()}), "0.bias is float16, not float32"),
    ],
)
def test_tensors_that_do_not_fit_are_named_and_nothing_is_changed(folder: Path, change, message: str) -> None:
    """Never a silently random weight: all or nothing, though the manifest is right."""
    checkpoint = folder / "step-00000002"
    tensors = load_file(checkpoint / "model.safetensors")
    change(tensors)
    save_file(tensors, checkpoint / "model.safetensors")
    (checkpoint / MANIFEST).write_text(manifest_of(checkpoint))
    state, untouched = trained(1, seed=1), trained(1, seed=1)
    with pytest.raises(InputError, match=message):
        state.restore(open_checkpoint(checkpoint))

    assert equal(untouched, state)


def test_averages_of_another_model_are_refused_before_its_weights_are_touched(folder: Path) -> None:
    checkpoint = folder / "step-00000002"
    save_file({"2.weight/exp_avg": torch.zeros(4)}, checkpoint / "optimizer.safetensors")
    (checkpoint / MANIFEST).write_text(manifest_of(checkpoint))
    state, untouched = trained(1, seed=1), trained(1, seed=1)
    with pytest.raises(InputError, match=r"optimizer.safetensors: 2.weight is not in the model"):
        state.restore(open_checkpoint(checkpoint))

    assert equal(untouched, state)


def test_a_format_of_the_future_is_refused_by_name(folder: Path) -> None:
    checkpoint = folder / "step-00000002"
    state = json.loads((checkpoint / "state.json").read_text()) | {"format": 3}
    (checkpoint / "state.json").write_text(json.dumps(state))
    (checkpoint / MANIFEST).write_text(manifest_of(checkpoint))
    with pytest.raises(InputError, match="is of format 3, which this version does not know"):
        open_checkpoint(checkpoint)


def test_going_on_from_an_older_one_sets_the_later_ones_aside(folder: Path) -> None:
    """They belong to a run that will not have been; nothing is deleted."""
    said: list[str] = []
    set_aside_later(folder, 1, say=said.append)

    assert "step-00000001" == newest_checkpoint(folder).name
    assert 1 == len(list(folder.glob(".superseded-step-00000002-*")))
    assert 1 == len(said)


def test_steps_of_nine_digits_are_newer_than_those_of_eight(tmp_path: Path) -> None:
    state = small_state()
    for state.step in (99_999_999, 100_000_000):
        save(tmp_path, state)

    assert "step-100000000" == newest_checkpoint(tmp_path).name


def test_a_run_does_not_depend_on_the_file_that_it_went_on_from(tmp_path: Path) -> None:
    """What happens to a checkpoint once it was read changes nothing of the run."""
    checkpoint = save(tmp_path, trained(2))
    state = small_state(seed=1)
    state.restore(open_checkpoint(checkpoint))
    for path in checkpoint.glob("*.safetensors"):
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))

    assert equal(trained(2), state)
