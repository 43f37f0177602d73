"""Loading what others saved: every class and prefix, strict, whole or one part; and what is said if it does not fit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.oracles import SINGLE, assert_close, assert_same_states, batch, coloured_cells, drawn
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import flava_parts as fp
from flava_parts.errors import InputError, SpecError
from flava_parts.interop import tensors as tensors_module
from flava_parts.interop.keys import from_ours, to_ours
from flava_parts.maskers.specs import BlockMaskerSpec

from .conftest import TINY

SLOTS = {
    "FlavaImageModel": "image_encoder",
    "FlavaTextModel": "text_encoder",
    "FlavaMultimodalModel": "fusion",
    "FlavaImageCodebook": "codebook",
}


def same(expected: Mapping[str, Tensor], actual: Mapping[str, Tensor]) -> None:
    """Equal names and, bit for bit, equal tensors."""
    assert set(expected) == set(actual)
    for name, value in expected.items():
        assert torch.equal(value, actual[name]), name


def weights(model: nn.Module, slot: str) -> dict[str, Tensor]:
    """The state dict of one part of a whole model."""
    prefix = f"{slot}."
    return {name.removeprefix(prefix): value for name, value in model.state_dict().items() if name.startswith(prefix)}


def resaved(source: Path, folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Path:
    """A copy of a saved model with other tensors."""
    folder.mkdir()
    shutil.copy(source / "config.json", folder)
    save_file(change(load_file(source / "model.safetensors")), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def whole(saved: Path) -> Any:
    return fp.load_pretrained(saved / "FlavaForPreTraining")


# ------------------------------------------------------------------------------------------------------ whole models


def test_every_weight_arrives(published: Any, whole: Any) -> None:
    """Bit for bit, in evaluation mode, nothing left on the meta device."""
    expected = to_ours(published.state_dict(), "transformers")

    same(expected, whole.state_dict())
    assert not whole.training
    assert not any(value.is_meta for value in whole.state_dict().values())


def test_the_loaded_model_computes_what_transformers_does(published: Any, whole: Any) -> None:
    """Losses and logits of a batch with padding and mismatches, and codes from pixels."""
    inputs = batch(TINY, 3, pads=True, itm=[1, 0, 1, 0], dtype=torch.float32)
    del inputs["mim_labels"]
    inputs["codebook_pixel_values"] = coloured_cells(TINY, 3)
    with torch.no_grad():
        theirs, ours = published(**inputs), whole(**inputs)

    assert_close(theirs.loss, ours.loss, SINGLE.value, "loss")
    assert_close(theirs.itm_logits, ours.itm_logits, SINGLE.value, "itm")
    assert_close(theirs.mmm_image_logits, ours.mmm_image_logits, SINGLE.value, "mmm_image")


def test_shards(saved: Path, whole: Any) -> None:
    """A model in several files is the same model."""
    assert len(list((saved / "sharded").glob("*.safetensors"))) > 1
    same(whole.state_dict(), fp.load_pretrained(saved / "sharded").state_dict())


def test_one_file_beside_its_config(saved: Path, whole: Any, tmp_path: Path) -> None:
    """Under any name."""
    folder = resaved(saved / "FlavaForPreTraining", tmp_path / "copy", lambda tensors: tensors)
    (folder / "model.safetensors").rename(folder / "averaged.safetensors")

    same(whole.state_dict(), fp.load_pretrained(folder / "averaged.safetensors").state_dict())


def test_a_bare_model(saved: Path, published: Any, whole: Any) -> None:
    """`FlavaModel` is the model without heads and codebook; it embeds and encodes."""
    bare = fp.load_pretrained(saved / "FlavaModel")
    inputs = batch(TINY, 4, masked=False, dtype=torch.float32)
    with torch.no_grad():
        theirs, ours = published.flava(**inputs), bare.encode(**inputs)

    assert ["global_contrastive"] == list(bare.losses)
    assert bare.codebook is None
    same(weights(whole, "losses.global_contrastive"), weights(bare, "losses.global_contrastive"))
    assert_same_states(theirs.multimodal_output, ours.multimodal, SINGLE.value, "multimodal")


@pytest.mark.parametrize("prefix", ["", "flava.", "module.flava.", "model.flava.", "net.backbone."])
def test_a_model_under_any_prefix(saved: Path, tmp_path: Path, prefix: str) -> None:
    """Wrappers prefix every name; the weights are the same."""
    folder = resaved(
        saved / "FlavaModel", tmp_path / "copy", lambda state: {prefix + name: value for name, value in state.items()}
    )

    same(fp.load_pretrained(saved / "FlavaModel").state_dict(), fp.load_pretrained(folder).state_dict())


@pytest.mark.parametrize("name", SLOTS)
@pytest.mark.parametrize("prefix", ["", "model.", "flava.image_model.", "module."])
def test_a_part_alone_under_any_prefix(saved: Path, whole: Any, tmp_path: Path, name: str, prefix: str) -> None:
    """An encoder or a codebook that was saved by itself is that part."""
    folder = resaved(saved / name, tmp_path / "copy", lambda state: {prefix + key: state[key] for key in state})
    expected = weights(whole, SLOTS[name])
    if name == "FlavaMultimodalModel":  # transformers' gets states that the whole model has projected already
        eye, zero = torch.eye(TINY.fusion.width), torch.zeros(TINY.fusion.width)
        for modality in ("image", "text"):
            expected |= {f"{modality}_projection.weight": eye, f"{modality}_projection.bias": zero}

    same(expected, fp.load_pretrained(folder).state_dict())
    same(expected, fp.load_part(folder, SLOTS[name]).state_dict())


def test_a_fusion_alone_computes_what_transformers_does(saved: Path, published: Any) -> None:
    """On the states that transformers gives it, image and text in one row."""
    fusion = fp.load_part(saved / "FlavaMultimodalModel", "fusion")
    image, text = torch.randn(2, 10, TINY.fusion.width), torch.randn(2, 5, TINY.fusion.width)
    with torch.no_grad():
        expected = published.flava.multimodal_model(torch.cat([image, text], dim=1), output_hidden_states=True)
        actual = fusion(image, text)

    assert_same_states(expected, actual, SINGLE.value, "fusion")


def test_masks_are_drawn_as_the_processor_beside_the_weights_says(saved: Path, tmp_path: Path) -> None:
    """If it is one for this model; a damaged one is told by who reads it, and keeps nobody from the weights."""
    folder = shutil.copytree(saved / "FlavaForPreTraining", tmp_path / "model")
    usual = fp.load_pretrained(folder).spec.image_masker
    told = {"image_processor_type": "FlavaImageProcessor", "total_mask_patches": 5, "mask_group_min_patches": 2}

    def masker(**settings: object) -> Any:
        (folder / "preprocessor_config.json").write_text(json.dumps({**told, **settings}), encoding="utf-8")
        return fp.load_pretrained(folder).spec.image_masker

    expected = BlockMaskerSpec(total=5, min_group=2, max_group=4, min_aspect=0.5)
    assert expected == masker(input_size_patches=3, mask_group_max_patches=4, mask_group_min_aspect_ratio=0.5)
    assert usual == masker(input_size_patches=14) == masker(input_size_patches=3, total_mask_patches=10)
    assert usual == masker(image_processor_type="CLIPImageProcessor")


def test_without_a_codebook(published: Any, tmp_path: Path) -> None:
    """Where transformers was told to build none, ours refuses to give codes, and takes labels."""
    from transformers import FlavaForPreTraining

    config = type(published.config).from_dict(published.config.to_dict())
    config.init_codebook = False
    FlavaForPreTraining(config).save_pretrained(tmp_path / "bare")
    model = fp.load_pretrained(tmp_path / "bare")
    inputs = batch(TINY, 5, text=False, dtype=torch.float32)

    assert model(**inputs).losses["mim"] > 0
    with pytest.raises(InputError, match="the dVAE codebook has no trained weights"):
        model.codebook(coloured_cells(TINY, 5))


def test_without_poolers(saved: Path, tmp_path: Path) -> None:
    """No loss trains them, so a model without them is whole."""
    folder = resaved(
        saved / "FlavaForPreTraining",
        tmp_path / "copy",
        lambda state: {name: value for name, value in state.items() if ".pooler." not in name or "itm" in name},
    )

    assert fp.load_pretrained(folder).image_encoder.pooler is None


def test_the_precision_it_was_saved_in(published: Any, tmp_path: Path) -> None:
    """Weights stay bfloat16; the codebook, whose codes must not move, is widened."""
    from copy import deepcopy

    deepcopy(published).to(torch.bfloat16).save_pretrained(tmp_path / "half")
    model = fp.load_pretrained(tmp_path / "half")

    assert torch.bfloat16 == model.image_encoder.norm.weight.dtype
    assert torch.float32 == model.codebook.input.weight.dtype


def test_what_is_missing_starts_in_the_precision_of_the_rest(tmp_path: Path) -> None:
    """So that a model of halves runs; the codebook, again, is wider."""
    fp.save_pretrained(fp.compose(TINY.spec()).to(torch.bfloat16), tmp_path / "half")
    tensors = load_file(tmp_path / "half" / "model.safetensors")
    tensors = {name: value for name, value in tensors.items() if not name.startswith("losses.itm.")}
    save_file(tensors, tmp_path / "half" / "model.safetensors")
    with pytest.warns(UserWarning, match="does not fit"):
        model = fp.load_pretrained(tmp_path / "half", strict=False)

    kinds = {name: value.dtype for name, value in model.state_dict().items() if value.is_floating_point()}
    assert {torch.float32} == {kind for name, kind in kinds.items() if name.startswith("codebook.")}
    assert {torch.bfloat16} == {kind for name, kind in kinds.items() if not name.startswith("codebook.")}


def test_a_fusion_of_halves_is_of_halves(tmp_path: Path) -> None:
    """Its projections too, which are the identity, since transformers saves none."""
    fp.save_part(fp.compose(TINY.spec()).to(torch.bfloat16), "fusion", tmp_path / "fusion")
    fusion = fp.load_part(tmp_path / "fusion", "fusion")

    assert {torch.bfloat16} == {weight.dtype for weight in fusion.parameters()}


def test_a_name_beside_the_model_is_not_taken_in_silence(saved: Path, tmp_path: Path) -> None:
    """Missing, unexpected and misshapen tensors are listed; not strict, they are reported, and the rest is loaded."""

    def spoilt(state: dict[str, Tensor]) -> dict[str, Tensor]:
        del state["flava.text_model.layernorm.weight"]
        state["classifier.weight"] = torch.zeros(2)
        state["flava.logit_scale"] = torch.zeros(3)
        return state

    folder = resaved(saved / "FlavaForPreTraining", tmp_path / "copy", spoilt)
    faults = (
        "text_encoder.norm.weight is missing; losses.global_contrastive.logit_scale is (3,), not (); "
        "classifier.weight is unexpected"
    )
    with pytest.raises(InputError) as error:
        fp.load_pretrained(folder)
    assert f"{folder}: does not fit: {faults}; strict=False reports this and goes on" == str(error.value)

    with pytest.warns(UserWarning, match="does not fit") as warned:
        model = fp.load_pretrained(folder, strict=False)
    assert [f"{folder}: does not fit: {faults}"] == [str(warning.message) for warning in warned]
    assert torch.equal(torch.ones(TINY.text.width), model.text_encoder.norm.weight)
    assert torch.equal(
        fp.load_part(saved / "FlavaImageModel", "image_encoder").norm.weight, model.image_encoder.norm.weight
    )


def test_nan_is_a_number(saved: Path, tmp_path: Path) -> None:
    """What the weights are is not judged."""
    folder = resaved(
        saved / "FlavaTextModel",
        tmp_path / "copy",
        lambda state: {name: torch.full_like(value, torch.nan) for name, value in state.items()},
    )

    assert fp.load_pretrained(folder).norm.weight.isnan().all()


# ---------------------------------------------------------------------------------------------------------- one part


@pytest.mark.parametrize("slot", ["image_encoder", "text_encoder", "fusion", "codebook", "losses.itm", "losses.mim"])
def test_a_part_reads_its_own_tensors_only(saved: Path, whole: Any, slot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly the tensors of the part are read, each once."""
    read: list[str] = []

    class Counting:
        def __init__(self, path: Path, framework: str) -> None:
            self.file = safe_open(path, framework=framework)
            self.keys = self.file.keys

        def get_tensor(self, name: str) -> Tensor:
            read.append(name)
            return self.file.get_tensor(name)

    monkeypatch.setattr(tensors_module, "safe_open", Counting)
    part = fp.load_part(saved / "FlavaForPreTraining", slot)

    same(weights(whole, slot), part.state_dict())
    assert len(part.state_dict()) == len(read) == len(set(read))


def test_a_part_needs_no_other_shard(saved: Path, tmp_path: Path, whole: Any) -> None:
    """The shards that hold none of it may be missing, or be no safetensors at all."""
    copy = tmp_path / "copy"
    shutil.copytree(saved / "sharded", copy)
    places = json.loads((copy / "model.safetensors.index.json").read_text())["weight_map"]
    needed = {shard for name, shard in places.items() if name.startswith("flava.text_model.")}
    others = set(places.values()) - needed
    assert others
    for index, shard in enumerate(sorted(others)):
        (copy / shard).write_bytes(b"no safetensors") if index else (copy / shard).unlink()

    same(weights(whole, "text_encoder"), fp.load_part(copy, "text_encoder").state_dict())


def test_parts_of_our_own_folder(whole: Any, tmp_path: Path) -> None:
    """By the same names."""
    fp.save_pretrained(whole, tmp_path / "own")

    same(weights(whole, "fusion"), fp.load_part(tmp_path / "own", "fusion").state_dict())


def test_a_part_that_is_not_there(saved: Path) -> None:
    with pytest.raises(InputError, match="FlavaModel: has no codebook; it has image_encoder, text_encoder, fusion"):
        fp.load_part(saved / "FlavaModel", "codebook")
    with pytest.raises(InputError, match="FlavaTextModel: holds the text_encoder alone, no fusion"):
        fp.load_part(saved / "FlavaTextModel", "fusion")


def test_trap_32_loading_writes_to_nothing_else(saved: Path, whole: Any) -> None:
    """Weights are mapped from one file, but each model has its own: training one changes no other, nor the file."""
    source = saved / "FlavaForPreTraining"
    before = (source / "model.safetensors").read_bytes()
    trained = fp.load_part(source, "text_encoder")
    with torch.no_grad():
        for value in trained.parameters():
            value.add_(1)

    assert before == (source / "model.safetensors").read_bytes()
    same(weights(whole, "text_encoder"), fp.load_part(source, "text_encoder").state_dict())


def test_trap_33_a_codebook_out_of_a_whole_checkpoint(saved: Path, published: Any) -> None:
    """It is the trained one: it gives the codes that the whole model gives."""
    cells = coloured_cells(TINY, 6)
    expected = published.image_codebook.get_codebook_indices(cells).flatten(1)

    assert len(expected.unique()) > 1
    assert torch.equal(expected, fp.load_part(saved / "FlavaForPreTraining", "codebook")(cells))


@pytest.mark.parametrize("slot", ["image_encoder", "text_encoder", "fusion"])
def test_trap_34_encoders_out_of_any_checkpoint(saved: Path, slot: str) -> None:
    """Out of the bare model's as out of the whole one's."""
    same(
        fp.load_part(saved / "FlavaForPreTraining", slot).state_dict(),
        fp.load_part(saved / "FlavaModel", slot).state_dict(),
    )


# -------------------------------------------------------------------------------------------------------- wrong input


def truncated(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def index_of(places: object) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))

    return write


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


NAME = "flava.logit_scale"
SPOILT: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (truncated, "{folder}/model.safetensors: cannot be read as safetensors ("),
    "no weights": (
        lambda folder: (folder / "model.safetensors").unlink(),
        "{folder}: holds a config.json but neither model.safetensors nor model.safetensors.index.json; fetch the "
        "weights too",
    ),
    "pickle": (
        pickled,
        "{folder}: holds pytorch_model.bin but no safetensors; convert it first: flava-parts convert "
        "{folder}/pytorch_model.bin FOLDER",
    ),
    "empty": (
        empty,
        "{folder}: holds no model; a model has spec.yaml or config.json beside its safetensors, a run has checkpoints",
    ),
    "missing shard": (
        index_of({NAME: "gone.safetensors"}),
        "{folder}/gone.safetensors: is missing, though the index beside it names it; fetch the model again",
    ),
    "traversal": (
        index_of({NAME: "../outside.safetensors"}),
        "{folder}/model.safetensors.index.json: names a shard '../outside.safetensors', but shards lie beside their "
        "index; save it again",
    ),
    "absolute": (index_of({NAME: "/etc/passwd"}), "{folder}/model.safetensors.index.json: names a shard '/etc/passwd'"),
    "backslash": (index_of({NAME: "..\\x"}), "{folder}/model.safetensors.index.json: names a shard '..\\\\x'"),
    "parent": (index_of({NAME: ".."}), "{folder}/model.safetensors.index.json: names a shard '..'"),
    "number": (index_of({NAME: 3}), "{folder}/model.safetensors.index.json: names a shard 3"),
    "no index": (index_of([]), "{folder}/model.safetensors.index.json: has no weight_map"),
    "another architecture": (
        lambda folder: (folder / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}'),
        "{folder}/config.json: the config of a model of type 'bert', where FLAVA's is flava_image_model or ",
    ),
    "no JSON": (
        lambda folder: (folder / "config.json").write_text("{"),
        "{folder}/config.json: cannot be read as JSON (",
    ),
    "deep JSON": (
        lambda folder: (folder / "config.json").write_text("[" * 100_000),
        "{folder}/config.json: cannot be read as JSON (",
    ),
    "no object": (
        lambda folder: (folder / "config.json").write_text("[]"),
        "{folder}/config.json: should be an object, not a list",
    ),
    "misspelt": (
        lambda folder: (folder / "config.json").write_text('{"model_type": "flava", "projection_din": 3}'),
        "{folder}/config.json: projection_din: unknown field; did you mean 'projection_dim'?",
    ),
    "wrong spec": (lambda folder: (folder / "spec.yaml").write_text("zebra: 1"), "{folder}/spec.yaml:1:1: zebra: "),
}


@pytest.mark.parametrize("case", SPOILT)
def test_wrong_input_is_one_line(saved: Path, tmp_path: Path, case: str) -> None:
    """What is wrong, and what to try; no traceback from inside a library, and no file outside the folder."""
    spoil, message = SPOILT[case]
    folder = tmp_path / "copy"
    shutil.copytree(saved / "FlavaForPreTraining", folder)
    spoil(folder)
    with pytest.raises((InputError, SpecError)) as error:
        fp.load_pretrained(folder)

    assert str(error.value).startswith(message.format(folder=folder))
    assert "\n" not in str(error.value)


@drawn
@given(st.data())
def test_a_damaged_file_is_an_error_or_a_model(saved: Path, data: st.DataObject) -> None:
    """Cut anywhere, or with any byte of its header changed, a file never ends in an exception of a library."""
    content = bytearray((saved / "FlavaTextModel" / "model.safetensors").read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    with TemporaryDirectory() as folder:
        shutil.copy(saved / "FlavaTextModel" / "config.json", folder)
        (Path(folder) / "model.safetensors").write_bytes(content)
        with suppress(InputError):
            assert fp.load_pretrained(folder).width == TINY.text.width


def test_a_shard_that_lacks_what_the_index_says(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(saved / "sharded", folder)
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["flava.logit_scale"], *_ = sorted(
        set(content["weight_map"].values()) - {content["weight_map"]["flava.logit_scale"]}
    )
    index.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"flava\.logit_scale cannot be read"):
        fp.load_pretrained(folder)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        fp.load_pretrained(tmp_path / "nowhere")

    assert f"{tmp_path / 'nowhere'}: there is no such folder or file, and it is no owner/name of the hub" == str(
        error.value
    )


def test_a_file_of_torch_is_converted_first(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"is a file of torch; convert it first: flava-parts convert "):
        fp.load_pretrained(tmp_path / "model.pt")


# ------------------------------------------------------------------------------------------------------------- memory

PEAK = """
import sys
import flava_parts as fp

def memory(what):
    line = next(line for line in open("/proc/self/status") if line.startswith(what))
    return 1024 * int(line.split()[1])

fp.load_pretrained(sys.argv[1])
before = memory("VmRSS")
model = fp.load_pretrained(sys.argv[2])
for value in model.state_dict().values():
    value.sum()  # whoever uses a weight has its bytes in memory
assert not {"huggingface_hub", "transformers"} & set(sys.modules)  # a local folder needs neither
print((memory("VmHWM") - before) / sum(value.nbytes for value in model.state_dict().values()))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux' /proc")
def test_loading_takes_no_more_memory_than_the_weights(saved: Path, tmp_path: Path) -> None:
    """The peak, every weight used once, is at most 1.15 x the weights: no second copy, not even for a moment."""
    smaller = ["image_encoder.depth=2", "text_encoder.depth=1", "fusion.depth=1", "text_encoder.vocab_size=8000"]
    spec = fp.load_spec("flava.base", set=[*smaller, "codebook.width=128", "codebook.weights=random"])
    fp.save_pretrained(fp.compose(spec), tmp_path / "big", "hf")
    told = subprocess.run(
        [sys.executable, "-c", PEAK, str(saved / "FlavaForPreTraining"), str(tmp_path / "big")],
        capture_output=True,
        text=True,
        check=True,
    )

    assert float(told.stdout) <= 1.15


def test_names_are_those_of_the_whole(whole: Any) -> None:
    """Both ways, for what the tests above rely on."""
    same(whole.state_dict(), to_ours(from_ours(whole.state_dict(), "transformers"), "transformers"))
