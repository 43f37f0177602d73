"""A run, from its spec to its folder, and back."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from runs import TINY, tiny_run

import flava_parts as fp
from flava_parts.data.loader import Batch
from flava_parts.errors import InputError
from flava_parts.train.resume import checkpoint_of
from flava_parts.train.run import run


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(folder: Path) -> list[tuple[int, str]]:
    """Step and exact loss of every update."""
    return [(record["step"], float(record["loss"]).hex()) for record in records(folder) if "loss" in record]


PLUGIN = """
from typing import Literal
from flava_parts import hookimpl
from flava_parts.train.specs import ObserverSpec

class Shout:
    def begin(self, *, step, steps): print("SHOUT")
    def stepped(self, record): pass
    def evaluated(self, record): pass
    def end(self): pass

class ShoutSpec(ObserverSpec):
    type: Literal["acme.shout"] = "acme.shout"
    def build(self, *, folder): return Shout()

@hookimpl
def flava_parts_specs(): return [ShoutSpec]
"""


def silent(text: str) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a run of four steps, made in one go."""
    folder = tmp_path_factory.mktemp("runs") / "straight"
    outcome = run(tiny_run(), folder, log=silent)

    assert outcome.complete
    return folder


def test_a_run_leaves_its_spec_metrics_checkpoint_and_pictures(finished):
    names = {path.name for path in finished.iterdir()}

    assert {"spec.yaml", "metrics.jsonl", "checkpoints", "codebook.safetensors"} <= names
    assert {"losses.png", "retrieval.png", "masks.png"} <= names
    assert fp.load_run(finished / "spec.yaml") == tiny_run()


def test_metrics_are_flat_and_add_up(finished):
    """Weighted losses sum to the loss, and the evaluation comes last."""
    *steps, evaluation = records(finished)

    assert [1, 2, 3, 4] == [record["step"] for record in steps]
    for record in steps:
        parts = [value for name, value in record.items() if name.startswith("loss/")]
        assert record["loss"] == pytest.approx(sum(parts), rel=1e-5)
    assert {"retrieval/image_to_text/top1", "retrieval/text_to_image/top5"} <= set(evaluation)


def test_all_six_losses_are_computed(tmp_path):
    run(tiny_run(steps=20), tmp_path, log=silent)
    computed = {name for record in records(tmp_path) for name in record if name.startswith("loss/")}

    assert {f"loss/{name}" for name in tiny_run().model.losses} == computed


def test_the_same_seed_gives_the_same_numbers(finished, tmp_path):
    """Bit for bit; and another seed does not."""
    run(tiny_run(), tmp_path / "again", log=silent)
    run(tiny_run("train.seed=1"), tmp_path / "other", log=silent)

    assert losses(finished) == losses(tmp_path / "again")
    assert losses(finished) != losses(tmp_path / "other")


def test_a_gpu_is_sent_levels_and_learns_from_the_same_pixels(finished, tmp_path, monkeypatch):
    """Where the run believes in a GPU, pictures come as bytes; the model, here on the CPU, sees no difference."""
    sent = []
    on = Batch.on
    monkeypatch.setattr(Batch, "on", lambda batch, device: sent.append(batch) or on(batch, device))
    monkeypatch.setattr("flava_parts.train.run.local_device", lambda: torch.device("cuda"))
    run(tiny_run(), tmp_path, log=silent)

    kinds = {batch.tensors[name].dtype for batch in sent for name in batch.tensors if name.endswith("pixel_values")}
    assert {torch.uint8} == kinds
    assert losses(finished) == losses(tmp_path)


def test_a_resumed_run_continues_bit_for_bit(finished, tmp_path):
    """What comes after a checkpoint does not depend on having stopped there."""
    run(tiny_run(), tmp_path, log=silent)
    shutil.rmtree(tmp_path / "checkpoints" / "step-00000004")
    newest = checkpoint_of(tmp_path, "auto", say=silent)
    assert newest is not None
    assert "step-00000002" == newest.name
    run(tiny_run(), tmp_path, resume=newest, log=silent)

    assert losses(finished) == losses(tmp_path)


def test_a_checkpoint_restores_the_model(finished):
    """`load_pretrained` gives equal models from a run and from its checkpoint, ready to embed."""
    model = fp.load_pretrained(finished)
    again = fp.load_pretrained(finished / "checkpoints" / "step-00000004")
    inputs = fp.load_processor(finished)(text=["a face", "a cat"])

    assert not model.training
    assert model.codebook.ready
    torch.testing.assert_close(
        model.embed_text(inputs["input_ids"]), again.embed_text(inputs["input_ids"]), rtol=0, atol=0
    )


def test_going_on_with_a_finished_run_measures_again_and_writes_it_once(finished, tmp_path):
    """The evaluation of the last step is made anew, and stands in the metrics once."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    before = records(folder)
    run(tiny_run(), folder, log=silent)

    assert before == records(folder)


def broken_evaluation(*_):
    raise InputError("picture 7: is broken")


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").glob("step-*"))


@pytest.mark.parametrize(("every", "left"), [(3, 3), (None, 4)])
def test_an_evaluation_that_fails_leaves_what_was_trained(finished, tmp_path, monkeypatch, every, left):
    """On the way and at the end; the run goes on from there, and makes the evaluation that is missing."""
    spec = tiny_run("train.checkpoint_every=null", f"train.evaluate_every={every or 'null'}")
    with monkeypatch.context() as patch:
        patch.setattr("flava_parts.evaluate.retrieval.Retrieval.__call__", broken_evaluation)
        with pytest.raises(InputError, match="picture 7: is broken"):
            run(spec, tmp_path, log=silent)

    assert [f"step-{left:08d}"] == checkpoints(tmp_path)

    run(spec, tmp_path, log=silent)
    evaluations = [record["step"] for record in records(tmp_path) if "loss" not in record]

    assert ([3, 4] if every else [4]) == evaluations
    assert losses(finished) == losses(tmp_path)


def test_a_change_that_does_not_fit_leaves_the_folder_as_it_was(finished, tmp_path):
    """Though it was allowed: the spec is the folder's once the checkpoint has been read into it."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    with pytest.raises(InputError, match="does not fit the spec"):
        run(tiny_run("model.image_encoder.width=32"), folder, allow=["model"], log=silent)

    assert (finished / "spec.yaml").read_text() == (folder / "spec.yaml").read_text()


def test_a_beginning_that_is_not_there_leaves_no_spec(tmp_path):
    """So that the corrected run may have the folder, which held something before."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"train\.initialize|nowhere"):
        run(tiny_run(f"train.initialize.image_encoder={tmp_path / 'nowhere'}"), tmp_path, log=silent)

    assert not (tmp_path / "spec.yaml").exists()


def test_a_finished_run_that_is_extended_keeps_its_evaluation(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    run(tiny_run(steps=5), folder, allow=["train.steps"], log=silent)

    assert [4, 5] == [record["step"] for record in records(folder) if "loss" not in record]
    assert records(finished) == records(folder)[:5]


@pytest.mark.parametrize(("first", "then"), [("muon", "adamw"), ("adamw", "muon")])
def test_another_optimiser_begins_anew(tmp_path, first, then):
    """And says so, whichever of the two it is; the weights go on."""
    said: list[str] = []
    run(tiny_run(f"train.optimizer={{type: flava.{first}}}", steps=2), tmp_path, log=silent)
    changed = tiny_run(f"train.optimizer={{type: flava.{then}}}", steps=3)
    outcome = run(changed, tmp_path, allow=["train.steps", "train.optimizer"], log=said.append)

    assert (True, 3) == (outcome.complete, outcome.step)
    begun = tmp_path / "checkpoints" / "step-00000002"
    assert f"{begun} was made with flava.{first}: flava.{then} begins anew, with no averages" in said


@pytest.mark.parametrize(("told", "then"), [("bf16", "bf16"), ("auto", "fp32")])
def test_a_precision_that_is_told_counts_for_what_comes(finished, tmp_path, monkeypatch, told, then):
    """Only `auto` keeps what a checkpoint had, whatever would be faster now."""
    monkeypatch.setattr("flava_parts.train.beginning.fastest", lambda device, ranks: "bf16")
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    run(tiny_run(f"train.precision={told}", steps=5), folder, allow=["train"], log=silent)
    facts = json.loads((folder / "checkpoints" / "step-00000005" / "state.json").read_text())

    assert then == facts["precision"]["choice"]


def test_a_run_leaves_torch_as_it_was(finished):
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_plugin_given_on_the_command_line_is_a_part_of_the_run(tmp_path):
    """`-p` makes its parts known; without it, the folder's spec is not understood."""
    (tmp_path / "shouting.py").write_text(PLUGIN)
    more = ["-p", str(tmp_path / "shouting.py"), "--set", "train.steps=1", "--set", "observers.shout.type=acme.shout"]
    result = subprocess.run(command(tmp_path / "run", *more), capture_output=True, text=True)

    assert 0 == result.returncode, result.stderr
    assert "SHOUT" in result.stdout
    result = subprocess.run(command(tmp_path / "run"), capture_output=True, text=True)

    assert 2 == result.returncode
    assert "no observer named 'acme.shout'" in result.stderr


def test_a_folder_with_another_run_is_refused(finished):
    with pytest.raises(InputError, match="another spec; choose another --out"):
        run(tiny_run(steps=5), finished, log=silent)


def test_resume_never_refuses_a_folder_that_has_a_checkpoint(finished):
    with pytest.raises(InputError, match="holds a run already"):
        checkpoint_of(finished, "never", say=silent)


def test_resume_from_what_is_no_checkpoint_is_refused(finished):
    with pytest.raises(InputError, match="is not a checkpoint"):
        checkpoint_of(finished, str(finished / "nothing"), say=silent)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_one_line(finished, tmp_path, name):
    """Cut short anywhere, a checkpoint is an error that names the file."""
    checkpoint = tmp_path / "checkpoints" / "step-00000002"
    checkpoint.mkdir(parents=True)
    for file in (finished / "checkpoints" / "step-00000002").iterdir():
        data = file.read_bytes()
        (checkpoint / file.name).write_bytes(data[: len(data) // 2] if file.name == name else data)
    with pytest.raises(InputError, match=name) as caught:
        run(tiny_run(), tmp_path, resume=checkpoint, log=silent)

    assert 1 == len(str(caught.value).splitlines())


def test_a_checkpoint_of_another_shape_names_the_tensors(finished, tmp_path):
    with pytest.raises(InputError, match=r"image_encoder\.cls_token is \(1, 1, 16\), not \(1, 1, 32\)"):
        run(
            tiny_run("model.image_encoder.width=32"),
            tmp_path,
            resume=finished / "checkpoints" / "step-00000004",
            log=silent,
        )


def command(folder: Path, *more: str) -> list[str]:
    changes = [word for change in TINY for word in ("--set", change)]
    return [sys.executable, "-m", "flava_parts", "train", "--out", str(folder), *changes, *more]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_an_interrupted_run_leaves_a_checkpoint_and_says_how_to_go_on(tmp_path, number):
    """And going on as it says ends where an uninterrupted run ends."""
    with subprocess.Popen(
        command(tmp_path, "--set", "train.steps=5000"),
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        metrics = tmp_path / "metrics.jsonl"
        deadline = time.monotonic() + 120
        while not (metrics.exists() and metrics.read_text().count("\n") >= 3):
            assert time.monotonic() < deadline, "the run did not start"
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)

    assert 128 + number == process.returncode
    assert f"go on with: flava-parts train --out {tmp_path}" in errors
    step = records(tmp_path)[-1]["step"]
    newest = checkpoint_of(tmp_path, "auto", say=silent)
    assert newest is not None
    assert f"step-{step:08d}" == newest.name


def test_wrong_input_is_one_line_and_exit_code_2(tmp_path):
    """No traceback, and nothing written."""
    result = subprocess.run(
        [sys.executable, "-m", "flava_parts", "train", str(tmp_path / "missing.yaml")], capture_output=True, text=True
    )

    assert 2 == result.returncode
    assert "Traceback" not in result.stderr
    assert "missing.yaml" in result.stderr


def test_a_run_asks_no_network_and_keeps_no_secrets(tmp_path, monkeypatch):
    """Nothing of the environment is written anywhere, and nobody is called."""
    monkeypatch.setenv("HF_TOKEN", "hf_canary0123456789")

    def connect(*arguments):
        pytest.fail(f"a run wanted to connect to {arguments[1:]}")

    monkeypatch.setattr("socket.socket.connect", connect)
    run(tiny_run(steps=1), tmp_path, log=silent)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]

    assert len(files) > 8
    assert [] == [path.name for path in files if b"canary" in path.read_bytes()]
