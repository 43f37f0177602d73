"""timm's backbones: the facts of many, same weights and same features, masks, weight files, and runs of a few steps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import flava_parts_timm
import pytest
import timm
import torch
from flava_parts_timm.specs import TimmSpec
from safetensors.torch import save_file
from torch import Tensor

import flava_parts as fp
from flava_parts.errors import InputError, SpecError
from flava_parts.facts import Grid, ImageTokens
from flava_parts.testing import check_part, laws_of

REGISTRY = fp.load_registry(plugins=[flava_parts_timm])

KNOWN = {
    "vit_base_patch16_224": (224, ImageTokens(Grid(14, 14), prefix=1, width=768)),
    "vit_base_patch14_reg4_dinov2": (518, ImageTokens(Grid(37, 37), prefix=5, width=768)),
    "deit_tiny_distilled_patch16_224": (224, ImageTokens(Grid(14, 14), prefix=2, width=192)),
    "vit_base_patch16_siglip_224": (224, ImageTokens(Grid(14, 14), prefix=1, width=768)),
    "swin_tiny_patch4_window7_224": (224, ImageTokens(Grid(7, 7), prefix=1, width=768)),
    "convnext_tiny": ((224, 320), ImageTokens(Grid(7, 10), prefix=1, width=768)),
    "resnet50": (160, ImageTokens(Grid(5, 5), prefix=1, width=2048)),
    "mixer_b16_224": (224, ImageTokens(Grid(14, 14), prefix=1, width=768)),
}
"""As their papers have them."""

SMALL = {
    "vit": TimmSpec(model="test_vit", image_size=(32, 48)),
    "vit without a class token": TimmSpec(model="test_vit2", image_size=32),
    "convnext": TimmSpec(model="test_convnext", image_size=(64, 96)),
    "resnet": TimmSpec(model="test_resnet", image_size=64),
}

SHORT = ["train.steps=3", "train.batch_size=4", "evaluate.retrieval=null"]
SHORT += [f"data.streams.{name}.batch_size=4" for name in ("paired", "images", "texts")]


def size_of(spec: TimmSpec) -> tuple[int, int]:
    return spec.image_size if isinstance(spec.image_size, tuple) else (spec.image_size,) * 2


def pixels(spec: TimmSpec, seed: int = 4) -> Tensor:
    return torch.randn(2, 3, *size_of(spec), generator=torch.Generator().manual_seed(seed))


def theirs(spec: TimmSpec) -> Any:
    """timm's own model with a classifier of 5 classes and random weights."""
    torch.manual_seed(3)
    size = {} if "conv" in spec.model or "resnet" in spec.model else {"img_size": size_of(spec)}
    return timm.create_model(spec.model, pretrained=False, num_classes=5, **size).eval()


@pytest.mark.parametrize("model", KNOWN)
def test_grid_and_width_are_stated_correctly(model: str) -> None:
    """Of transformers with none, one and several tokens of their own, of windows, and of convolutions."""
    image_size, tokens = KNOWN[model]

    assert tokens == TimmSpec(model=model, image_size=image_size).tokens


@pytest.mark.parametrize("kind", SMALL)
def test_the_same_weights_give_the_same_features(kind: str, tmp_path: Path) -> None:
    """timm's ``forward_features``, patch by patch in the order of the grid; its classifier is passed over."""
    spec, model = SMALL[kind], theirs(SMALL[kind])
    path = tmp_path / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    part = spec.model_copy(update={"weights": str(path)}).build().eval()
    with torch.no_grad():
        expected = model.forward_features(pixels(spec))
        states = part(pixels(spec)).last_hidden_state
    if expected.dim() == 4:
        expected = expected.flatten(2).transpose(1, 2)
    if not model.state_dict().keys() & {"cls_token", "reg_token"}:
        expected = torch.cat([expected.mean(1, keepdim=True), expected], 1)

    torch.testing.assert_close(states, expected)


@pytest.mark.parametrize("kind", SMALL)
def test_the_kind_s_contract(kind: str) -> None:
    """By the conformance suite; the facts come from the model, and so need torch."""
    laws = {law.name for law in laws_of("image_encoder")} - {"torch_free"}

    assert [] == [str(check) for check in check_part(SMALL[kind], only=laws).failed]


def test_importing_the_plugin_needs_neither_torch_nor_timm() -> None:
    """They are imported when the part's facts are asked for."""
    code = "import sys; sys.path[:0] = {path!r}; import flava_parts as fp, flava_parts_timm as plugin\n"
    code += "registry = fp.load_registry(plugins=[plugin], entry_points=False)\n"
    code += "spec = plugin.TimmSpec(model='test_vit', image_size=64)\n"
    code += "print(registry.broken, sorted({{'torch', 'timm'}} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code.format(path=[path for path in sys.path if path])], capture_output=True, text=True
    )

    assert "() []\n" == done.stdout, done.stderr


def test_what_the_features_do_not_depend_on_does_not_learn() -> None:
    """ConvNeXt's norm lies behind the pooling."""
    part = SMALL["convnext"].build()
    idle = [name for name, parameter in part.model.named_parameters() if not parameter.requires_grad]

    assert ["head.norm.weight", "head.norm.bias"] == idle


def test_wrong_weights_say_so(tmp_path: Path) -> None:
    """A file that is not there, and one of another model."""
    with pytest.raises(InputError, match=r"nowhere: cannot read a backbone's weights"):
        SMALL["vit"].model_copy(update={"weights": str(tmp_path / "nowhere")}).build()
    save_file(theirs(SMALL["vit"]).state_dict(), tmp_path / "vit.safetensors")
    with pytest.raises(InputError, match="weights of another backbone"):
        SMALL["resnet"].model_copy(update={"weights": str(tmp_path / "vit.safetensors")}).build()


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"model": "test_vot"}, "has no model 'test_vot'; did you mean 'test_vit'"),
        ({"model": "hf-hub:timm/test_vit"}, "image_encoder.model"),
        ({"model": "vit_base_patch16_224", "image_size": 7}, "timm"),
    ],
)
def test_a_wrong_spec_says_so(block: dict[str, Any], text: str) -> None:
    """A name that timm does not have, one that would be looked up elsewhere, a size that the model cannot read."""
    with pytest.raises(SpecError, match=text):
        fp.load_spec({"base": "flava.tiny", "image_encoder": {"type": "timm.backbone", **block}}, registry=REGISTRY)


def test_wrong_use_says_so() -> None:
    """Pixels and masks of another shape, and what there is no common way to ask for."""
    part = SMALL["vit"].build()
    with pytest.raises(ValueError, match=r"pixels should be \(B, 3, 32, 48\)"):
        part(torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match=r"masked should have one entry a patch, \(1, 6\)"):
        part(torch.rand(1, 3, 32, 48), torch.zeros(1, 16))
    with pytest.raises(ValueError, match="has no keep and no output_hidden_states"):
        part(torch.rand(1, 3, 32, 48), keep=torch.ones(1, 6), output_hidden_states=True)


@pytest.mark.parametrize("preset", ["emoji", "emoji_convnext"])
def test_the_emoji_run_trains(preset: str, tmp_path: Path) -> None:
    """A few steps of the preset, from file to checkpoint."""
    from flava_parts.train.run import run

    spec = fp.load_run(f"timm.{preset}", registry=REGISTRY, set=SHORT)

    assert 3 == run(spec, tmp_path, registry=REGISTRY).step
