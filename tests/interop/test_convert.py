"""``flava-parts convert``, and torch's own files, which nothing else reads."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from reference.oracles import (
    SINGLE,
    Tiny,
    assert_close,
    assert_same_gradients,
    batch,
    coloured_cells,
    torch_multimodal,
)
from runs import tiny_run
from safetensors.torch import load_file
from transformers import BertTokenizer

import flava_parts as fp
from flava_parts.cli import main
from flava_parts.errors import InputError, SpecError
from flava_parts.facts import IGNORE, Grid
from flava_parts.interop import compare
from flava_parts.interop.pretrained import load_stored
from flava_parts.interop.stored import open_pickled
from flava_parts.loading import load_any
from flava_parts.spec import RunSpec
from flava_parts.train.run import run as train

from .test_load import same

Run = Callable[..., tuple[int, str, str]]
PEER = Tiny(grid=Grid(3, 3), head_eps=1e-5, mask_text_padding=False)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run(*arguments)` is the exit code, what went to stdout, and what to stderr; in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["flava-parts", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture(scope="module")
def peer() -> Any:
    """torchmultimodal's `FLAVAForPreTraining`."""
    return torch_multimodal(PEER, seed=1, dtype=torch.float32)


def test_there_and_back(run: Run, saved: Path) -> None:
    """transformers to ours to transformers: the same file, and the same outputs."""
    source = saved / "FlavaForPreTraining"

    assert (0, f"{source}: written to ours for flava_parts\n", "") == run("convert", source, "ours")
    assert (0, "ours: written to theirs for hf\n", "") == run("convert", "ours", "theirs", "--to", "hf")
    before, after = load_file(source / "model.safetensors"), load_file("theirs/model.safetensors")
    same(before, {name: after[name] for name in before})
    code, out, _ = run("convert", "--check", source, "theirs")
    assert 0 == code
    assert "loss global_contrastive" in out


def test_check_measures(run: Run, saved: Path, tmp_path: Path) -> None:
    """Against transformers' own reading; a weight that differs is seen, and ends with 1."""
    source = saved / "FlavaForPreTraining"
    code, out, _ = run("convert", "--check", source, "--json")
    found = json.loads(out)
    losses = {"mim", "mlm", "mmm_image", "mmm_text", "itm", "global_contrastive"}

    assert 0 == code
    assert {f"loss {name}" for name in losses} <= {one["output"] for one in found}
    assert all(one["difference"] < 1e-5 for one in found)

    model = fp.load_pretrained(source)
    with torch.no_grad():
        model.text_encoder.norm.weight[0] += 1
    fp.save_pretrained(model, tmp_path / "other")
    code, out, _ = run("convert", "--check", source, "other", "--json")
    apart = {one["output"] for one in json.loads(out) if one["difference"] > 1e-4}
    assert 1 == code
    assert "text" in apart
    assert not {"image", "multimodal", "loss mim"} & apart


def test_check_without_transformers(run: Run, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then both are ours, and exactly alike; one alone has nothing to be compared with."""
    monkeypatch.setattr(compare, "find_spec", lambda name: None)
    source = saved / "FlavaModel"
    run("convert", source, "copy")
    code, out, _ = run("convert", "--check", source, "copy", "--json")

    assert 0 == code
    assert {0.0} == {one["difference"] for one in json.loads(out)}
    assert (
        2,
        "",
        f"{source}: nothing to compare with; name a second model, or give one of transformers' layout where "
        "transformers is installed\n",
    ) == run("convert", "--check", source)


def test_spec(run: Run, saved: Path) -> None:
    """The derived spec is YAML that loads as the model's spec."""
    code, out, _ = run("convert", saved / "FlavaForPreTraining", "--spec")

    assert 0 == code
    assert fp.load_spec(out) == fp.load_pretrained(saved / "FlavaForPreTraining").spec


def test_a_run_keeps_its_data_and_its_processor(run: Run, tmp_path: Path) -> None:
    """Converted to ours, a run is still a run; to transformers, its processor is written in transformers' files."""
    codebook = "{type: flava.dvae, image_size: 32, width: 4, vocab_size: 16, weights: random}"
    train(tiny_run(f"model.codebook={codebook}", steps=1), tmp_path / "run", log=print)
    processor = fp.load_processor("run")
    tokens = processor(text=["a red face"])["input_ids"].tolist()

    assert 0 == run("convert", "run", "ours")[0]
    assert isinstance(load_any("ours/spec.yaml"), RunSpec)
    assert tokens == fp.load_processor("ours")(text=["a red face"])["input_ids"].tolist()
    same(fp.load_pretrained("run").state_dict(), fp.load_pretrained("ours").state_dict())

    assert (0, "") == run("convert", "run", "theirs", "--to", "hf")[::2]
    assert tokens == BertTokenizer.from_pretrained("theirs")(["a red face"])["input_ids"]
    picture = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)
    assert torch.equal(
        processor(images=picture)["pixel_values"], fp.load_processor("theirs")(images=picture)["pixel_values"]
    )


def test_a_part_is_written_alone(run: Run, saved: Path) -> None:
    """As transformers saves it, tensor by tensor; our own files are of whole models."""
    source = saved / "FlavaForPreTraining"

    assert (0, f"{source}: its text_encoder written to part for hf\n", "") == run(
        "convert", source, "part", "--part", "text_encoder", "--to", "hf"
    )
    same(load_file(saved / "FlavaTextModel" / "model.safetensors"), load_file("part/model.safetensors"))
    assert (2, "", "--part fusion: a part alone is written for transformers; add --to hf\n") == run(
        "convert", source, "other", "--part", "fusion"
    )


def test_a_part_is_no_model(run: Run, saved: Path) -> None:
    source = saved / "FlavaTextModel"

    assert (
        2,
        "",
        f"{source}: holds the text_encoder alone, where a whole model is needed; load_part reads it\n",
    ) == run("convert", source, "out")
    assert (2, "", "convert needs a folder to write to, or one of --check and --spec\n") == run("convert", source)


# ---------------------------------------------------------------------------------------------- torch's own files


def test_torchmultimodal_computes_the_same(peer: Any, run: Run) -> None:
    """Its file, converted, gives its losses and gradients: the spec was read off the shapes, the rest is known."""
    torch.save(peer.state_dict(), "flava.pt")
    assert 0 == run("convert", "flava.pt", "ours", "--heads", "2")[0]
    model = fp.load_pretrained("ours")
    assert model.codebook is not None
    inputs = batch(PEER, 1, pads=True, itm=[1, 0, 1, 0], dtype=torch.float32)
    del inputs["mim_labels"]
    cells = coloured_cells(PEER, 1)
    labels = inputs["mlm_labels"]
    theirs = peer(
        image=inputs["pixel_values"],
        text=inputs["input_ids"],
        image_for_codebook=cells,
        image_patches_mask=inputs["bool_masked_pos"],
        text_masked=inputs["input_ids_masked"],
        itm_labels=inputs["itm_labels"],
        mlm_labels=torch.where(labels == IGNORE, -1, labels),
    )
    ours = model(**inputs, codebook_pixel_values=cells)
    expected = {name: value for name, value in vars(theirs.losses).items() if isinstance(value, torch.Tensor)}

    for mine, name in {
        "mmm_image": "mmm_image_loss",
        "mmm_text": "mmm_text_loss",
        "itm": "itm_loss",
        "global_contrastive": "global_contrastive_loss",
    }.items():
        assert_close(expected[name], ours.losses[mine], SINGLE.value, mine)
    peer.zero_grad(set_to_none=True)
    sum(expected.values()).backward()
    ours.loss.backward()
    assert_same_gradients(peer, model, "torchmultimodal", SINGLE.gradient)


def test_layers_with_dropout_are_counted_differently(peer: Any, tmp_path: Path) -> None:
    """Their second one is the fourth module then; what is converted computes what it does without dropout."""
    with_dropout = torch_multimodal(PEER, seed=1, dtype=torch.float32, dropout=0.3)
    torch.save(with_dropout.state_dict(), tmp_path / "dropout.pt")
    torch.save(peer.state_dict(), tmp_path / "flava.pt")
    dropped, plain = (load_stored(open_pickled(tmp_path / name, heads=2)) for name in ("dropout.pt", "flava.pt"))

    assert any("feedforward.model.3" in name for name in with_dropout.state_dict())
    same(plain.state_dict(), dropped.state_dict())


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3}])
@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_whatever_it_was_wrapped_in(peer: Any, tmp_path: Path, wrap: Any, prefix: str) -> None:
    """A trainer's checkpoint, and a prefix to every name."""
    state = {prefix + name: value for name, value in peer.state_dict().items()}
    torch.save(wrap(state), tmp_path / "last.ckpt")
    model = load_stored(open_pickled(tmp_path / "last.ckpt", heads=2))

    assert torch.equal(peer.model.text_encoder.layernorm.weight, model.text_encoder.norm.weight)


def test_the_bare_model(peer: Any, tmp_path: Path) -> None:
    """`FLAVAModel` has projections but no scale, which belongs to the losses: it starts at ln(1 / 0.07)."""
    torch.save(peer.model.state_dict(), tmp_path / "model.pt")
    model = load_stored(open_pickled(tmp_path / "model.pt", heads=2))

    assert ["global_contrastive"] == list(model.losses)
    assert model.codebook is None
    assert pytest.approx(2.65926, abs=1e-5) == model.losses["global_contrastive"].logit_scale.item()


def test_transformers_file_of_torch(published: Any, run: Run, saved: Path, tmp_path: Path) -> None:
    """A repository that has only pytorch_model.bin is converted, beside its config.json."""
    folder = tmp_path / "old"
    folder.mkdir()
    shutil.copy(saved / "FlavaForPreTraining" / "config.json", folder)
    torch.save(published.state_dict(), folder / "pytorch_model.bin")

    assert 0 == run("convert", folder / "pytorch_model.bin", "new", "--to", "hf")[0]
    same(fp.load_pretrained(saved / "FlavaForPreTraining").state_dict(), fp.load_pretrained("new").state_dict())


class Crafted:
    """Unpickling it would create a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("owned", "w"))


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "code": (
        lambda path: torch.save({"x": Crafted()}, path),
        "{path}: holds more than tensors, and reading that could run code; save model.state_dict() by itself",
    ),
    "no file of torch": (lambda path: path.write_bytes(b"zebra"), "{path}: "),
    "empty": (lambda path: path.write_bytes(b""), "{path}: cannot be read as a file of torch ("),
    "no tensors": (lambda path: torch.save({"epoch": 3}, path), "{path}: holds no state dict; "),
    "a list": (lambda path: torch.save([torch.zeros(1)], path), "{path}: holds no state dict; "),
    "another model": (
        lambda path: torch.save({"conv.weight": torch.zeros(3)}, path),
        "{path}: is no state dict of torchmultimodal's FLAVA; one of transformers needs its config.json beside it",
    ),
    "half a model": (
        lambda path: torch.save({"model.image_projection.weight": torch.zeros(3)}, path),
        "{path}: no weight image_encoder.position_embedding; give the state dict of a whole model",
    ),
    "no such shape": (
        lambda path: torch.save({"model.image_encoder.embeddings.position_embeddings": torch.zeros(())}, path),
        "{path}: weights of unexpected shapes (",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_one_line(run: Run, tmp_path: Path, case: str) -> None:
    """And nothing that they say is run."""
    write, message = WRONG[case]
    path = tmp_path / "model.pt"
    write(path)
    code, out, err = run("convert", path, "out")

    assert (2, "") == (code, out)
    assert err.startswith(message.format(path=path))
    assert 1 == err.count("\n")
    assert {"model.pt"} == {path.name for path in tmp_path.iterdir()}


def test_heads_have_to_divide_the_width(peer: Any, tmp_path: Path) -> None:
    torch.save(peer.state_dict(), tmp_path / "model.pt")
    for heads in (None, 3):
        with pytest.raises(InputError, match=f"{heads or 0} heads do not divide the image_encoder's width of 8; say"):
            open_pickled(tmp_path / "model.pt", heads=heads)


def test_what_torchmultimodal_cannot_say_is_not_written(peer: Any, tmp_path: Path) -> None:
    """Its files hold weights alone: what they would be read as is another model, so that none is written."""
    torch.save(peer.state_dict(), tmp_path / "flava.pt")
    good = load_stored(open_pickled(tmp_path / "flava.pt", heads=2)).spec
    assert good is not None
    fusion, losses = good.fusion, dict(good.losses)
    wrong = {
        "fusion.mask_text_padding: is True, where": {"fusion": fusion.model_copy(update={"mask_text_padding": True})},
        "losses.mlm.norm_eps: is 1e-12, where": {
            "losses": losses | {"mlm": losses["mlm"].model_copy(update={"norm_eps": 1e-12})}
        },
        "text_encoder.activation: is relu, where": {
            "text_encoder": good.text_encoder.model_copy(update={"activation": "relu"})
        },
        "torchmultimodal has no place for losses.words.head": {"losses": losses | {"words": losses["mlm"]}},
        "torchmultimodal has no place for text_encoder.blocks.0.attention.relative": {
            "text_encoder": good.text_encoder.model_copy(update={"position_embedding": "relative_key"})
        },
        "20 patches are no square": {
            "image_encoder": good.image_encoder.model_copy(update={"image_size": (16, 20), "patch_size": 4}),
            "codebook": good.codebook.model_copy(update={"image_size": (32, 40)}),
        },
    }
    for message, change in wrong.items():
        with pytest.raises((SpecError, InputError), match=message):
            fp.save_pretrained(fp.compose(good.model_copy(update=change)), tmp_path / "out", "torchmultimodal")

    assert {"flava.pt"} == {path.name for path in tmp_path.iterdir()}


def test_models_of_different_sizes_are_not_compared(run: Run) -> None:
    """Where encoders take the same batch, but something behind them is of another width."""
    fp.save_pretrained(fp.compose(Tiny().spec()), "one")
    narrow = Tiny().spec().losses["global_contrastive"].model_copy(update={"projection": 3})
    spec = Tiny().spec()
    fp.save_pretrained(
        fp.compose(spec.model_copy(update={"losses": {**spec.losses, "global_contrastive": narrow}})), "other"
    )
    code, out, err = run("convert", "one", "other", "--check")

    assert (2, "") == (code, out)
    assert "models of different sizes: image embedding is (" in err or "sizes: text embedding is (" in err


def test_a_place_that_cannot_be_written(run: Run, saved: Path) -> None:
    code, out, err = run("convert", saved / "FlavaForPreTraining", "/dev/null/x")

    assert (2, "") == (code, out)
    assert err.splitlines()[-1].startswith("/dev/null/x: cannot be written (")
