"""transformers' encoders: the facts of several, same weights and same outputs, folders, and a run of a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flava_parts_transformers
import pytest
import torch
from flava_parts_transformers.specs import ImageTowerSpec, TextEncoderSpec
from torch import Tensor
from transformers import AutoConfig, AutoModel
from transformers.models.siglip2.image_processing_siglip2 import convert_image_to_patches

import flava_parts as fp
from flava_parts.errors import InputError, SpecError
from flava_parts.facts import Grid, ImageTokens, TextTokens
from flava_parts.testing import check_part, laws_of

REGISTRY = fp.load_registry(plugins=[flava_parts_transformers])
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
SEEN = SMALL | {"image_size": 32, "patch_size": 8}

IMAGES = {
    "vit": ({"model_type": "vit", **SEEN}, 1),
    "deit": ({"model_type": "deit", **SEEN}, 2),
    "beit": ({"model_type": "beit", "use_mask_token": True, "use_relative_position_bias": True, **SEEN}, 1),
    "beit_cls": ({"model_type": "beit", "use_mean_pooling": False, **SEEN}, 1),
    "dinov2": ({"model_type": "dinov2", **SEEN}, 1),
    "registers": ({"model_type": "dinov2_with_registers", "num_register_tokens": 3, **SEEN}, 4),
    "clip": ({"model_type": "clip_vision_model", **SEEN}, 1),
    "siglip": ({"model_type": "siglip_vision_model", **SEEN}, 0),
    "siglip2": ({"model_type": "siglip2_vision_model", "patch_size": 8, "num_patches": 9, **SMALL}, 0),
}
TEXTS = {
    "bert": ({"model_type": "bert", "vocab_size": 120, "max_position_embeddings": 12, **SMALL}, 12),
    "roberta": ({"model_type": "roberta", "vocab_size": 120, "max_position_embeddings": 14, **SMALL}, 12),
    "distilbert": (
        {"model_type": "distilbert", "vocab_size": 120, "max_position_embeddings": 12, "dim": 16, "n_layers": 2}
        | {"n_heads": 2, "hidden_dim": 24},
        12,
    ),
    "modernbert": (
        {"model_type": "modernbert", "vocab_size": 120, "max_position_embeddings": 12, **SMALL}
        | {f"{name}_token_id": number for number, name in enumerate(("pad", "cls", "sep", "bos", "eos"))},
        12,
    ),
    "deberta": (
        {"model_type": "deberta-v2", "vocab_size": 120, "max_position_embeddings": 12, "relative_attention": True}
        | {"pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "type_vocab_size": 0, **SMALL},
        12,
    ),
}

SHORT = ["train.steps=3", "train.batch_size=4", "evaluate.retrieval=null"]
SHORT += [f"data.streams.{name}.batch_size=4" for name in ("paired", "images", "texts")]


def theirs(config: dict[str, Any]) -> Any:
    """transformers' own model, with random weights."""
    torch.manual_seed(3)
    values = dict(config)
    return AutoModel.from_config(AutoConfig.for_model(values.pop("model_type"), **values)).eval()


def pixels() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(4))


def seen(model: Any, pictures: Tensor) -> Any:
    """transformers' own output; SigLIP2's is given what its image processor makes of pictures."""
    if model.config.model_type != "siglip2_vision_model":
        return model(pictures)
    patches = torch.stack([convert_image_to_patches(picture, 8) for picture in pictures])
    kept = torch.ones(patches.shape[:2], dtype=torch.int32)
    return model(patches, pixel_attention_mask=kept, spatial_shapes=torch.tensor([[4, 4]] * len(pictures)))


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_tower_is_transformers_own(name: str, tmp_path: Path) -> None:
    """From a folder: stated facts, and the same outputs to the last bit."""
    config, own = IMAGES[name]
    model = theirs(config)
    model.save_pretrained(tmp_path)
    spec = ImageTowerSpec(folder=str(tmp_path), image_size=32)
    with torch.no_grad():
        expected, states = seen(model, pixels()), spec.build().eval()(pixels())

    assert ImageTokens(Grid(4, 4), prefix=max(own, 1), width=16) == spec.tokens
    assert torch.equal(expected.last_hidden_state, states.pre_norm[:, 1 if not own else 0 :])
    if "lip" in name:  # what their projections into the shared space read
        torch.testing.assert_close(expected.pooler_output, states.last_hidden_state[:, 0])
    if name == "beit":  # the norm of the mean that its classifier reads
        assert torch.equal(model.pooler.layernorm(expected.last_hidden_state), states.last_hidden_state)


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_encoder_is_transformers_own(name: str, tmp_path: Path) -> None:
    """From a folder: stated facts, and the same outputs, at the longest text and with padding."""
    config, length = TEXTS[name]
    model = theirs(config)
    model.save_pretrained(tmp_path)
    spec = TextEncoderSpec(folder=str(tmp_path))
    ids = torch.randint(5, 120, (2, length), generator=torch.Generator().manual_seed(5))
    keep = torch.ones_like(ids)
    keep[1, 7:] = 0
    with torch.no_grad():
        expected, states = model(ids, attention_mask=keep), spec.build().eval()(ids, keep)

    assert TextTokens(length=length, width=16, vocab_size=120) == spec.tokens
    assert torch.equal(expected.last_hidden_state, states.last_hidden_state)
    with pytest.raises(ValueError, match="L at most 12"):
        spec.build()(torch.ones(1, 13, dtype=torch.long))


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2"])
def test_the_image_tower_of_a_model_of_two(kind: str, tmp_path: Path) -> None:
    """Its folder gives its vision model, weights and all."""
    words = {**SMALL, "vocab_size": 99, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    vision = {name: value for name, value in IMAGES[kind][0].items() if name != "model_type"}
    both = theirs({"model_type": kind, "vision_config": vision, "text_config": words})
    both.save_pretrained(tmp_path)
    part = ImageTowerSpec(folder=str(tmp_path), image_size=32).build().eval()
    with torch.no_grad():
        expected = seen(both.vision_model, pixels()).pooler_output
        torch.testing.assert_close(part(pixels()).last_hidden_state[:, 0], expected)


@pytest.mark.parametrize("name", [*IMAGES, *TEXTS])
def test_the_kind_s_contract(name: str) -> None:
    """By the conformance suite; the facts come from the model, and so need torch."""
    spec: Any
    if name in IMAGES:
        spec = ImageTowerSpec(config=IMAGES[name][0], image_size=32)
    else:
        spec = TextEncoderSpec(config=TEXTS[name][0])
    laws = {law.name for law in laws_of(spec.kind)} - {"torch_free"}

    assert [] == [str(check) for check in check_part(spec, only=laws).failed]


@pytest.mark.parametrize(
    ("slot", "block", "text"),
    [
        ("image_encoder", {"type": "transformers.image"}, "one of the two"),
        ("image_encoder", {"type": "transformers.image", "config": {"hidden_size": 3}}, "needs a model_type"),
        ("image_encoder", {"type": "transformers.image", "config": {"model_type": "vot"}}, "cannot read this config"),
        ("image_encoder", {"type": "transformers.image", "config": IMAGES["vit"][0]}, "configuration has 32 and 3"),
        ("image_encoder", {"type": "transformers.image", "config": TEXTS["bert"][0]}, "no tower that cuts pictures"),
        (
            "image_encoder",
            {"type": "transformers.image", "config": {"model_type": "vit_mae", **SEEN}, "image_size": 32},
            "vit_mae gives .1, 5, 16., no token for each of 4x4",
        ),
        (
            "image_encoder",
            {"type": "transformers.image", "config": {"model_type": "swin", "image_size": 30}, "image_size": 30},
            "patches of 4x4 pixels do not tile 30x30",
        ),
        (
            "image_encoder",
            {"type": "transformers.image", "config": {"model_type": "siglip_text_model"}},
            "no encoder for this configuration",
        ),
        ("text_encoder", {"type": "transformers.text", "config": IMAGES["vit"][0]}, "no text encoder"),
        ("text_encoder", {"type": "transformers.text", "config": {"model_type": "gpt2", "n_layer": 1}}, "no text"),
        (
            "text_encoder",
            {"type": "transformers.text", "config": {"model_type": "rembert", **SMALL, "max_position_embeddings": 12}},
            "rembert cannot be measured",
        ),
        (
            "text_encoder",
            {"type": "transformers.text", "config": {"model_type": "clip_text_model", **SMALL}},
            "no text",
        ),
        ("text_encoder", {"type": "transformers.text", "folder": "nowhere"}, "nowhere.config.json: cannot read"),
    ],
)
def test_a_wrong_spec_says_so(slot: str, block: dict[str, Any], text: str) -> None:
    """No source or two, a model that there is not, another kind of model, another size, no such folder."""
    with pytest.raises(SpecError, match=text):
        fp.load_spec({"base": "flava.tiny", slot: block}, registry=REGISTRY)


def test_pickled_and_foreign_weights_are_refused(tmp_path: Path) -> None:
    """Weights are read from safetensors only, and have to be the model's."""
    model = theirs(IMAGES["vit"][0])
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot read the weights"):
        ImageTowerSpec(folder=str(tmp_path), image_size=32).build()
    theirs(IMAGES["dinov2"][0]).save_pretrained(tmp_path)
    model.config.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"cannot read the weights|weights of another model"):
        ImageTowerSpec(folder=str(tmp_path), image_size=32).build()


def test_the_emoji_run_trains(tmp_path: Path) -> None:
    """A few steps of the preset, from file to checkpoint."""
    from flava_parts.train.run import run

    spec = fp.load_run("transformers.emoji", registry=REGISTRY, set=SHORT)

    assert 3 == run(spec, tmp_path, registry=REGISTRY).step
