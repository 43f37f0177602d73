"""torchvision's backbones: same weights, same features; facts, masks, weight files, and runs of a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flava_parts_torchvision
import pytest
import torch
import torchvision
from flava_parts_torchvision.specs import ConvNeXtSpec, SwinSpec, ViTSpec
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

import flava_parts as fp
from flava_parts.errors import InputError, SpecError
from flava_parts.facts import Grid, ImageTokens
from flava_parts.testing import check_part

REGISTRY = fp.load_registry(plugins=[flava_parts_torchvision])

SMALL: dict[str, Any] = {
    "vit": ViTSpec(image_size=32, patch_size=8, width=16, depth=2, heads=2, mlp_width=24),
    "swin": SwinSpec(image_size=(32, 48), patch_size=2, width=8, depths=(1, 2, 2), heads=(1, 2, 4), window=3),
    "convnext": ConvNeXtSpec(image_size=(32, 48), widths=(8, 16), depths=(1, 2), layer_scale=0.5),
}
STATED = {
    "vit": ImageTokens(Grid(4, 4), prefix=1, width=16),
    "swin": ImageTokens(Grid(4, 6), prefix=1, width=32),
    "convnext": ImageTokens(Grid(4, 6), prefix=1, width=16),
}
HEADS = {"vit": "heads.head", "swin": "head", "convnext": "classifier.2"}

PUBLISHED = [
    *("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14"),
    *("swin_t", "swin_s", "swin_b"),
    *("convnext_tiny", "convnext_small", "convnext_base", "convnext_large"),
]

SHORT = ["train.steps=3", "train.batch_size=4", "evaluate.retrieval=null"]
SHORT += [f"data.streams.{name}.batch_size=4" for name in ("paired", "images", "texts")]


def theirs(family: str) -> nn.Module:
    """torchvision's own model of the small size, with a classifier of 5 classes and random weights."""
    torch.manual_seed(3)
    model: nn.Module
    if family == "vit":
        model = VisionTransformer(32, 8, 2, 2, 16, 24, num_classes=5)
    elif family == "swin":
        model = SwinTransformer([2, 2], 8, [1, 2, 2], [1, 2, 4], [3, 3], stochastic_depth_prob=0.2, num_classes=5)
    else:
        model = ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 2)], 0.1, 0.5, num_classes=5)
    for parameter in model.parameters():  # biases, norms and scales too, so that none can be left out unnoticed
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def pixels(family: str, seed: int = 4) -> Tensor:
    size = (32, 32) if family == "vit" else (32, 48)
    return torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(seed))


def with_weights(family: str, folder: Path) -> nn.Module:
    """Our part, with torchvision's weights from a file."""
    path = folder / f"{family}.safetensors"
    save_file({name: value.contiguous() for name, value in theirs(family).state_dict().items()}, path)
    return SMALL[family].model_copy(update={"weights": str(path)}).build().eval()


@pytest.mark.parametrize("family", SMALL)
def test_the_same_weights_give_the_same_features(family: str, tmp_path: Path) -> None:
    """The summary is what torchvision's classifier reads: its logits are torchvision's."""
    model, part = theirs(family), with_weights(family, tmp_path)
    with torch.no_grad():
        logits = model.get_submodule(HEADS[family])(part(pixels(family)).last_hidden_state[:, 0])
        torch.testing.assert_close(logits, model(pixels(family)))


@pytest.mark.parametrize("family", SMALL)
def test_the_patches_are_those_of_the_model(family: str, tmp_path: Path) -> None:
    """In the order of the grid, before and after the model's last norm."""
    model: Any = theirs(family)
    part = with_weights(family, tmp_path)
    seen: dict[str, Tensor] = {}
    last = {"vit": "encoder.ln", "swin": "norm", "convnext": "avgpool"}[family]
    model.get_submodule(last).register_forward_hook(
        lambda _, given, out: seen.update(before=given[0].detach(), after=out.detach())
    )
    with torch.no_grad():
        model(pixels(family))
        states = part(pixels(family))
    if family == "vit":
        before, after = seen["before"], seen["after"]
        torch.testing.assert_close(states.last_hidden_state, after)
        torch.testing.assert_close(states.pre_norm, before)
    elif family == "swin":
        torch.testing.assert_close(states.pre_norm[:, 1:], seen["before"].flatten(1, 2))
        torch.testing.assert_close(states.last_hidden_state[:, 1:], seen["after"].flatten(1, 2))
    else:
        torch.testing.assert_close(states.pre_norm[:, 1:], seen["before"].flatten(2).transpose(1, 2))
        torch.testing.assert_close(states.pre_norm[:, 0], seen["after"].flatten(1))


@pytest.mark.parametrize("family", SMALL)
def test_hidden_patches_do_not_show(family: str, tmp_path: Path) -> None:
    """Other pixels below a hidden patch change nothing; one pixel of a patch in sight does."""
    part, grid = with_weights(family, tmp_path), SMALL[family].tokens.grid
    masked = torch.rand(3, grid.size, generator=torch.Generator().manual_seed(5)) < 0.5
    seen = pixels(family)
    side = seen.shape[2] // grid.rows
    hidden = masked.view(3, 1, grid.rows, grid.columns).repeat_interleave(side, 2).repeat_interleave(side, 3)
    other = torch.where(hidden, pixels(family, seed=6), seen)
    with torch.no_grad():
        states = part(seen, masked).last_hidden_state
        assert torch.equal(states, part(other, masked).last_hidden_state)
        assert torch.equal(states, part(seen, masked.view(3, grid.rows, grid.columns)).last_hidden_state)
        assert not torch.equal(states, part(seen).last_hidden_state)
        assert not torch.equal(states, part(torch.where(hidden, seen, seen + 0.1), masked).last_hidden_state)


@pytest.mark.parametrize("family", SMALL)
def test_the_kind_s_contract(family: str) -> None:
    """By the conformance suite; the facts by hand besides."""
    assert STATED[family] == SMALL[family].tokens
    assert [] == [str(check) for check in check_part(SMALL[family]).failed]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_are_torchvision_s(name: str) -> None:
    """The preset of a published model has the tensors, and the dropped blocks, of torchvision's own."""
    without_codes = {"codebook": None, "image_masker": None, "losses": {"mim": None, "mmm_image": None}}
    model_of = {"base": "flava.base", "image_encoder": {"base": f"torchvision.{name}"}, **without_codes}
    spec = fp.load_spec(model_of, registry=REGISTRY)
    with torch.device("meta"):
        model: Any = torchvision.models.get_model(name)
        part: Any = spec.image_encoder.build()
    head = part.head
    needed = {name: each.shape for name, each in model.state_dict().items() if not name.startswith(f"{head}.")}

    assert needed == {name: each.shape for name, each in part.model.state_dict().items()}
    assert [each.p for each in model.modules() if type(each).__name__ == "StochasticDepth"] == [
        each.p for each in part.modules() if type(each).__name__ == "StochasticDepth"
    ]


def test_wrong_weights_say_so(tmp_path: Path) -> None:
    """A file that is not there, no safetensors, or of another size."""
    with pytest.raises(InputError, match=r"nowhere.safetensors: cannot read a backbone's weights"):
        SMALL["vit"].model_copy(update={"weights": str(tmp_path / "nowhere.safetensors")}).build()
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(InputError, match="cannot read a backbone's weights"):
        SMALL["vit"].model_copy(update={"weights": str(tmp_path / "text")}).build()
    with_weights("vit", tmp_path)
    with pytest.raises(InputError, match=r"class_token is \(1, 1, 16\), should be \(1, 1, 8\)"):
        SMALL["vit"].model_copy(update={"width": 8, "weights": str(tmp_path / "vit.safetensors")}).build()


def test_wrong_use_says_so() -> None:
    """Pixels and masks of another shape, and what torchvision has no way to do."""
    part = SMALL["swin"].build()
    with pytest.raises(ValueError, match=r"pixels should be \(B, 3, 32, 48\)"):
        part(torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match=r"masked should have one entry a patch, \(1, 24\)"):
        part(torch.rand(1, 3, 32, 48), torch.zeros(1, 16, dtype=torch.bool))
    with pytest.raises(ValueError, match="SwinTransformer has no keep and no output_attentions"):
        part(torch.rand(1, 3, 32, 48), keep=torch.ones(1, 24), output_attentions=True)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"type": "torchvision.vit", "image_size": [32, 64]}, "reads squares, not 32x64"),
        ({"type": "torchvision.vit", "patch_size": 15}, "patches of 15 pixels do not tile a side of 224"),
        ({"type": "torchvision.vit", "heads": 5}, "5 heads do not divide a width of 768"),
        ({"type": "torchvision.swin", "depths": [2, 2]}, "there are 2 depths but 4 heads"),
        ({"type": "torchvision.swin", "heads": [3, 6, 12, 5]}, "5 heads do not divide a width of 768"),
        ({"type": "torchvision.swin", "image_size": 200}, "stride of 32 pixels does not tile a side of 200"),
        ({"type": "torchvision.convnext", "depths": [1]}, "there are 4 widths but 1 depths"),
    ],
)
def test_a_wrong_spec_says_so(block: dict[str, Any], message: str) -> None:
    """At the field that is wrong, before torch is imported."""
    with pytest.raises(SpecError, match=message):
        fp.load_spec({"base": "flava.tiny", "image_encoder": block}, registry=REGISTRY)


@pytest.mark.parametrize("preset", ["emoji", "emoji_swin", "emoji_convnext"])
def test_the_emoji_run_trains(preset: str, tmp_path: Path) -> None:
    """A few steps of the preset, from file to checkpoint."""
    from flava_parts.train.run import run

    spec = fp.load_run(f"torchvision.{preset}", registry=REGISTRY, set=SHORT)

    assert 3 == run(spec, tmp_path, registry=REGISTRY).step
