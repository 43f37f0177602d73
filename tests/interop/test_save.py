"""Saving for others: what they read is bit for bit what was saved, and a folder is whole or not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from reference.oracles import Tiny, batch, coloured_cells, torch_multimodal
from torch import Tensor
from transformers import (
    BertTokenizer,
    FlavaForPreTraining,
    FlavaImageCodebook,
    FlavaImageModel,
    FlavaModel,
    FlavaMultimodalModel,
    FlavaTextModel,
)

import flava_parts as fp
from flava_parts.compose import compose
from flava_parts.data.specs import DataSpec
from flava_parts.errors import InputError, SpecError
from flava_parts.facts import Grid
from flava_parts.inputs.processor import Processor
from flava_parts.interop import saving
from flava_parts.interop.config import config_of_part
from flava_parts.interop.pretrained import load_stored
from flava_parts.interop.stored import open_pickled
from flava_parts.losses.specs import GlobalContrastiveSpec, MIMSpec
from flava_parts.model import FlavaForPreTraining as Ours

from .conftest import TINY
from .test_load import same, weights

FORMATS = ("flava_parts", "hf")


@pytest.fixture
def whole(saved: Path) -> Ours:
    return fp.load_pretrained(saved / "FlavaForPreTraining")


def batches() -> list[dict[str, Tensor]]:
    """Pairs, images and texts, so that all six losses are computed."""
    return [
        batch(TINY, 1, pads=True, itm=[1, 0, 1, 0], dtype=torch.float32),
        batch(TINY, 2, text=False, dtype=torch.float32),
        batch(TINY, 3, image=False, pads=True, dtype=torch.float32),
    ]


def outcome(model: Any) -> dict[str, Tensor]:
    """Every loss and logit, and every gradient of their sum."""
    found: dict[str, Tensor] = {}
    model.zero_grad(set_to_none=True)
    for index, inputs in enumerate(batches()):
        output = model(**inputs)
        output.loss.backward()
        losses = output.losses if isinstance(model, Ours) else output.loss_info
        found |= {f"{index} {name}": value for name, value in losses.items() if value is not None}
        for name in ("mim", "mlm", "mmm_image", "mmm_text", "itm"):
            logits = getattr(output, f"{name}_logits")
            if logits is not None:
                found[f"{index} {name} logits"] = logits
    found |= {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return {name: value.detach() for name, value in found.items()}


def test_transformers_reads_what_it_would_have_written(published: Any, whole: Ours, tmp_path: Path) -> None:
    """Same weights, nothing missing or left over, and bit for bit the losses, logits and gradients of its own."""
    fp.save_pretrained(whole, tmp_path / "hf", "hf")
    theirs, told = FlavaForPreTraining.from_pretrained(tmp_path / "hf", output_loading_info=True)

    assert [] == [fault for faults in told.values() for fault in faults]
    same(published.state_dict(), theirs.state_dict())
    expected = outcome(published)
    assert {f"0 {name}" for name in ("mmm_image", "mmm_text", "itm", "global_contrastive")} | {"1 mim", "2 mlm"} <= set(
        expected
    )
    same(expected, outcome(theirs.eval()))


@pytest.mark.parametrize("format", FORMATS)
def test_loading_back_changes_nothing(whole: Ours, tmp_path: Path, format: Any) -> None:
    """The same spec, and bit for bit the same weights, losses, logits, gradients and codes."""
    fp.save_pretrained(whole, tmp_path / "copy", format)
    back = fp.load_pretrained(tmp_path / "copy")

    assert whole.spec == back.spec
    same(whole.state_dict(), back.state_dict())
    same(outcome(whole), outcome(back))
    assert whole.codebook is not None
    assert torch.equal(whole.codebook(coloured_cells(TINY, 1)), back.codebook(coloured_cells(TINY, 1)))


def test_a_bare_model_is_read_as_one(saved: Path, published: Any, tmp_path: Path) -> None:
    """A model whose only loss is the contrastive one is transformers' `FlavaModel`."""
    fp.save_pretrained(fp.load_pretrained(saved / "FlavaModel"), tmp_path / "hf", "hf")
    theirs, told = FlavaModel.from_pretrained(tmp_path / "hf", output_loading_info=True)

    assert [] == [fault for faults in told.values() for fault in faults]
    same(published.flava.state_dict(), theirs.state_dict())


ALONE = {
    "image_encoder": FlavaImageModel,
    "text_encoder": FlavaTextModel,
    "fusion": FlavaMultimodalModel,
    "codebook": FlavaImageCodebook,
}


@pytest.mark.parametrize("slot", ALONE)
def test_a_part_alone_is_read_as_one(saved: Path, whole: Ours, tmp_path: Path, slot: str) -> None:
    """By transformers' class for it, complete and with the config it had; and by `load_part`, bit for bit."""
    fp.save_part(whole, slot, tmp_path / "part")
    theirs, told = ALONE[slot].from_pretrained(tmp_path / "part", output_loading_info=True)
    published = ALONE[slot].from_pretrained(saved / ALONE[slot].__name__)

    assert [] == [fault for faults in told.values() for fault in faults]
    same(published.state_dict(), theirs.state_dict())
    ignored = {"_name_or_path", "transformers_version"}
    expected, actual = published.config.to_dict(), theirs.config.to_dict()
    if slot == "image_encoder":  # its vocabulary is the codebook's, which no tensor of it has
        ignored.add("vocab_size")
    assert {name: value for name, value in expected.items() if name not in ignored} == {
        name: value for name, value in actual.items() if name not in ignored
    }
    back = fp.load_part(tmp_path / "part", slot).state_dict()
    mine = whole.get_submodule(slot).state_dict()
    alone = [name for name in mine if "_projection." not in name or slot != "fusion"]
    same({name: mine[name] for name in alone}, {name: back[name] for name in alone})


def test_only_parts_that_transformers_has_are_saved_alone(whole: Ours, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"transformers saves no losses\.itm alone; it has image_encoder, text_encoder"
    ):
        fp.save_part(whole, "losses.itm", tmp_path / "part")
    without = compose(TINY.spec().model_copy(update={"codebook": None, "losses": {}}))
    with pytest.raises(InputError, match="the model has no codebook"):
        fp.save_part(without, "codebook", tmp_path / "part")
    text = TINY.spec().text_encoder.model_copy(update={"position_embedding": "relative_key"})
    with pytest.raises(SpecError, match="transformers computes absolute positions only"):
        config_of_part("text_encoder", text)
    assert not (tmp_path / "part").exists()


def test_what_a_model_does_not_have_is_left_out(tmp_path: Path) -> None:
    """A model without poolers and with one head: transformers says which weights it had to start itself."""
    spec = TINY.spec(pooler=False)
    spec = spec.model_copy(update={"losses": {"mim": MIMSpec(), "global_contrastive": GlobalContrastiveSpec()}})
    model = compose(spec)
    fp.save_pretrained(model, tmp_path / "hf", "hf")
    _, told = FlavaForPreTraining.from_pretrained(tmp_path / "hf", output_loading_info=True)
    back = fp.load_pretrained(tmp_path / "hf")

    assert {"flava", "itm_head", "mlm_head", "mmm_image_head", "mmm_text_head"} == {
        name.split(".")[0] for name in told["missing_keys"]
    }
    assert all(".pooler." in name for name in told["missing_keys"] if name.startswith("flava."))
    assert ["mim", "global_contrastive"] == list(back.losses)
    same(model.state_dict(), back.state_dict())


def test_torchmultimodal_reads_what_is_written_for_it(tmp_path: Path) -> None:
    """Its own names, all of them; and back from its file, with the heads told, since shapes do not show them."""
    tiny = Tiny(grid=Grid(3, 3), head_eps=1e-5, mask_text_padding=False)
    theirs = torch_multimodal(tiny, seed=1, dtype=torch.float32)
    torch.save(theirs.state_dict(), tmp_path / "published.pt")
    stored = open_pickled(tmp_path / "published.pt", heads=2)
    model = load_stored(stored)
    fp.save_pretrained(model, tmp_path / "tmm", "torchmultimodal")
    written = torch.load(tmp_path / "tmm" / "model.pt", weights_only=True)

    same(theirs.state_dict(), written)
    theirs.load_state_dict(written, strict=True)
    again = open_pickled(tmp_path / "tmm" / "model.pt", heads=2)
    assert stored.spec == again.spec
    same(model.state_dict(), load_stored(again).state_dict())


def test_the_processor_goes_along(whole: Ours, tmp_path: Path) -> None:
    """Written beside the weights, read back by both libraries; the weights are not needed for it."""
    processor = Processor.of(fp.load_spec("flava.base"), DataSpec(streams={}))
    folder = tmp_path / "copy"
    fp.save_pretrained(whole, folder, "hf", processor)
    (folder / "config.json").unlink()
    (folder / "model.safetensors").unlink()
    expected = processor(text=["a photo of a cat"])["input_ids"]

    assert torch.equal(expected, fp.load_processor(folder)(text=["a photo of a cat"])["input_ids"])
    assert expected.tolist() == BertTokenizer.from_pretrained(folder)(["a photo of a cat"])["input_ids"]


def test_no_processor(saved: Path) -> None:
    with pytest.raises(InputError, match="FlavaModel: holds no processor; give a run, or a folder with tok"):
        fp.load_processor(saved / "FlavaModel")


# ---------------------------------------------------------------------------------------------------- whole or nothing


@pytest.mark.parametrize("format", [*FORMATS, "torchmultimodal"])
def test_a_folder_that_holds_something_is_left_alone(whole: Ours, tmp_path: Path, format: Any) -> None:
    """Another model's files are not overwritten, nor mixed with."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"precious")
    with pytest.raises(InputError) as error:
        fp.save_pretrained(whole, folder, format)

    assert f"{folder}: exists already; choose a new folder, so that no other model is lost" == str(error.value)
    assert b"precious" == (folder / "model.safetensors").read_bytes()


def test_an_empty_folder_will_do(whole: Ours, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    fp.save_pretrained(whole, tmp_path / "mine")

    assert {"model.safetensors", "spec.yaml"} == {path.name for path in (tmp_path / "mine").iterdir()}


@pytest.mark.parametrize("format", FORMATS)
def test_a_save_that_fails_leaves_nothing(
    whole: Ours, tmp_path: Path, format: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No half a checkpoint, and nothing hidden beside it."""

    def full(tensors: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(saving, "save_tensors", full)
    with pytest.raises(InputError, match=r"out: cannot be written \(No space left"):
        fp.save_pretrained(whole, tmp_path / "out", format)

    assert [] == list(tmp_path.iterdir())


def test_what_transformers_cannot_compute_is_not_written(tmp_path: Path) -> None:
    """The part is named, and no folder is made."""
    model = compose(Tiny(mask_text_padding=False).spec())
    with pytest.raises(SpecError, match=r"^fusion\.mask_text_padding: transformers always hides padding"):
        fp.save_pretrained(model, tmp_path / "out", "hf")

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("format", FORMATS)
def test_a_codebook_without_weights_stays_without(tmp_path: Path, format: Any) -> None:
    """Zeros are no codebook: transformers is told that there is none, and ours still refuses."""
    spec = TINY.spec()
    assert spec.codebook is not None
    spec = spec.model_copy(update={"codebook": spec.codebook.model_copy(update={"weights": None})})
    fp.save_pretrained(compose(spec), tmp_path / "out", format)
    back = fp.load_pretrained(tmp_path / "out")

    if format == "hf":
        assert json.loads((tmp_path / "out" / "config.json").read_text())["init_codebook"] is False
        assert FlavaForPreTraining.from_pretrained(tmp_path / "out").image_codebook is None
    with pytest.raises(InputError, match="no trained weights"):
        back.codebook(coloured_cells(TINY, 1))


def test_a_saved_model_needs_no_other_file(tmp_path: Path) -> None:
    """The codebook's own file may go: its weights are in the model's."""
    model = compose(TINY.spec())
    assert model.codebook is not None
    model.codebook.save(tmp_path / "codebook.safetensors")
    spec = TINY.spec()
    assert spec.codebook is not None
    there = spec.codebook.model_copy(update={"weights": str(tmp_path / "codebook.safetensors")})
    fp.save_pretrained(compose(spec.model_copy(update={"codebook": there})), tmp_path / "out")
    (tmp_path / "codebook.safetensors").unlink()

    same(weights(model, "codebook"), fp.load_part(tmp_path / "out", "codebook").state_dict())


def test_unknown_formats_and_models_without_a_spec(whole: Ours, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no format named 'onnx'; there are flava_parts, hf, torchmultimodal"):
        fp.save_pretrained(whole, tmp_path / "out", "onnx")  # pyright: ignore[reportArgumentType]
    whole.spec = None
    with pytest.raises(InputError, match=r"this one was built without; use compose\(spec\)"):
        fp.save_pretrained(whole, tmp_path / "out")
