"""transformers' config.json to our spec and back: nothing lost, nothing misspelt taken in silence."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from reference.oracles import Tiny, drawn, hugging_face_config, tinies
from transformers import (
    FlavaConfig,
    FlavaImageCodebookConfig,
    FlavaImageConfig,
    FlavaMultimodalConfig,
    FlavaTextConfig,
)

from flava_parts.codebooks.specs import DVAESpec, KMeansSpec
from flava_parts.encoders.specs import TextTransformerSpec, ViTSpec
from flava_parts.errors import InputError, SpecError
from flava_parts.fusion.specs import FusionTransformerSpec
from flava_parts.interop.config import config_of_spec, part_of_config, spec_of_config
from flava_parts.loading import load_spec
from flava_parts.losses.specs import GlobalContrastiveSpec, MIMSpec
from flava_parts.spec import FlavaSpec


def written(tiny: Tiny, **changes: Any) -> dict[str, Any]:
    """The config that transformers writes."""
    return json.loads(hugging_face_config(tiny, **changes).to_json_string(use_diff=False))


def as_published(tiny: Tiny) -> FlavaSpec:
    """The spec of a tiny model, as far as transformers can tell it."""
    spec = replace(tiny, all_negative="as_positive").spec()
    assert spec.codebook is not None
    side = spec.codebook.image_size
    side = side[0] if isinstance(side, tuple) and side[0] == side[1] else side
    return spec.model_copy(update={"codebook": spec.codebook.model_copy(update={"weights": None, "image_size": side})})


def without_maskers(spec: FlavaSpec) -> FlavaSpec:
    return spec.model_copy(update={"image_masker": None, "text_masker": None, "pair_masker": None})


@drawn
@given(tinies())
def test_a_config_gives_the_spec_that_computes_the_same(tiny: Tiny) -> None:
    """What the oracles' tests show to compute the same is what the config alone leads to."""
    assert as_published(tiny) == without_maskers(spec_of_config(written(tiny)))


@drawn
@given(tinies())
def test_spec_to_config_to_spec_is_the_identity(tiny: Tiny) -> None:
    """Of every spec that transformers can compute."""
    spec = as_published(tiny)

    assert spec == without_maskers(spec_of_config(config_of_spec(spec)))


@drawn
@given(tinies())
def test_transformers_reads_our_config_as_its_own(tiny: Tiny) -> None:
    """Through JSON: the config of a derived spec is, to transformers, the config that it was derived from."""
    theirs = hugging_face_config(tiny)
    ours = FlavaConfig.from_dict(json.loads(json.dumps(config_of_spec(spec_of_config(written(tiny))))))
    left_out = {"transformers_version", "architectures", "layer_norm_eps"}

    for name in ("image_config", "text_config", "multimodal_config", "image_codebook_config"):
        assert getattr(theirs, name).to_dict() == getattr(ours, name).to_dict()
    assert {key: value for key, value in theirs.to_dict().items() if key not in left_out} == {
        key: value for key, value in ours.to_dict().items() if key not in left_out
    }


def test_what_a_config_leaves_out_has_the_defaults_of_transformers() -> None:
    """An empty config is transformers' own empty config, which is facebook/flava-full."""
    assert spec_of_config(json.loads(FlavaConfig().to_json_string(use_diff=False))) == spec_of_config(
        {"model_type": "flava"}
    )
    assert (
        config_of_spec(load_spec("flava.base"))["image_config"]
        == config_of_spec(spec_of_config({"model_type": "flava"}))["image_config"]
    )
    for kind in (FlavaImageConfig, FlavaTextConfig, FlavaMultimodalConfig, FlavaImageCodebookConfig):
        assert part_of_config(kind().to_dict()) == part_of_config({"model_type": kind.model_type})


@pytest.mark.parametrize(
    ("model_type", "expected"),
    [
        ("flava_image_model", ("image_encoder", ViTSpec(width=24, heads=2, mlp_width=5, pooler=True))),
        ("flava_text_model", ("text_encoder", TextTransformerSpec(width=24, heads=2, mlp_width=5, pooler=True))),
        ("flava_multimodal_model", ("fusion", FusionTransformerSpec(width=24, heads=2, mlp_width=5, pooler=True))),
    ],
)
def test_the_config_of_an_encoder_alone(model_type: str, expected: object) -> None:
    config = {"model_type": model_type, "hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 5}

    assert expected == part_of_config(config)


@pytest.mark.parametrize("model_type", ["flava_image_codebook", "flava_codebook"])
def test_the_config_of_a_codebook_alone(model_type: str) -> None:
    """Under today's name and the first one."""
    config = {"model_type": model_type, "hidden_size": 8, "vocab_size": 5, "num_blocks_per_group": 1}

    assert ("codebook", DVAESpec(width=8, vocab_size=5, blocks=1)) == part_of_config(config)


def test_a_config_of_version_4() -> None:
    """Version 4 wrote every field of its base class into every block, and a second block ``..._dict`` beside it."""
    config = written(Tiny())
    base = {
        "num_beams": 1,
        "num_beam_groups": 1,
        "max_length": 20,
        "torchscript": False,
        "torch_dtype": None,
        "pruned_heads": {},
        "is_decoder": False,
        "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
        "problem_type": None,
        "pad_token_id": None,
        "_name_or_path": "",
    }
    for name in ("image_config", "text_config", "multimodal_config", "image_codebook_config"):
        config[name] = {**base, **config[name]}
        config[f"{name}_dict"] = None
    config["text_config"]["position_embedding_type"] = "absolute"
    old = {**config, **base, "architectures": ["FlavaForPreTraining"], "torch_dtype": "float32"}

    assert spec_of_config(written(Tiny())) == spec_of_config(old)


def test_the_second_block_wins() -> None:
    """As in transformers: what ``text_config_dict`` holds is all that counts."""
    config = {
        "model_type": "flava",
        "text_config": {"num_hidden_layers": 3, "hidden_size": 24},
        "text_config_dict": {"num_hidden_layers": 5},
    }
    theirs = FlavaConfig.from_dict(json.loads(json.dumps(config))).text_config

    assert (theirs.num_hidden_layers, theirs.hidden_size) == (5, 768)
    assert (5, 768) == (lambda text: (text.depth, text.width))(spec_of_config(config).text_encoder)


def test_a_bare_model_has_the_contrastive_loss_alone() -> None:
    """The config of a `FlavaModel`: its projections belong to that loss, and it has no heads and no codebook."""
    spec = spec_of_config({"model_type": "flava", "architectures": ["FlavaModel"], "projection_dim": 512})

    assert ["global_contrastive"] == list(spec.losses)
    assert spec.codebook is None
    assert ["FlavaModel"] == config_of_spec(spec)["architectures"]
    assert spec == spec_of_config(config_of_spec(spec))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"model_type": "bert", "hidden_size": 768},
            "the config of a model of type 'bert', where FLAVA's is flava; give a FLAVA checkpoint",
        ),
        ({}, "not the config of a model: it has no model_type, where FLAVA's is flava; give a FLAVA checkpoint"),
        (
            {"model_type": "flava", "image_config": {"hiden_size": 32}},
            "image_config.hiden_size: unknown field; did you mean 'hidden_size'?",
        ),
        (
            {"model_type": "flava", "mlm_wieght": 0.5},
            "mlm_wieght: unknown field; did you mean 'mlm_weight'?",
        ),
        (
            {"model_type": "flava", "image_config": {}, "num_hidden_layers": 3},
            "num_hidden_layers: transformers ignores it here; it belongs into image_config or text_config or "
            "multimodal_config",
        ),
        (
            {"model_type": "flava", "text_config": {"position_embedding_type": "relative_key"}},
            "text_config.position_embedding_type: transformers computes absolute positions whatever it says; set it "
            "to absolute",
        ),
        (
            {"model_type": "flava", "image_codebook_config": {"num_groups": 2}},
            "image_codebook_config.num_groups: transformers builds four groups whatever it says, with the gain of 2; "
            "no codebook here computes that, so train with 4",
        ),
        (
            {"model_type": "flava", "image_codebook_config": {"vocab_size": 9}},
            "image_config.vocab_size: heads predict 8192 codes, but the codebook gives 9 "
            "(image_codebook_config.vocab_size); make them equal",
        ),
        (
            {"model_type": "flava", "ce_ignore_index": -1},
            "ce_ignore_index: labels to be ignored are -100 here; set it so, and give such labels",
        ),
        ({"model_type": "flava", "text_config": 3}, "text_config: should be a block of fields, not 3"),
        (
            {"model_type": "flava", "text_config": {"hidden_size": "wide"}},
            "text_config.hidden_size: Input should be a valid integer",
        ),
        (
            {"model_type": "flava", "text_config": {"num_attention_heads": 7}},
            "text_config.num_attention_heads: 7 heads do not divide a width of 768",
        ),
        (
            {"model_type": "flava", "mim_weight": -1.0},
            "mim_weight: Input should be greater than or equal to 0",
        ),
    ],
)
def test_wrong_configs(config: dict[str, Any], message: str) -> None:
    """One line: which field, what is wrong with it, and what to try."""
    with pytest.raises(InputError) as error:
        spec_of_config(config)

    assert message == str(error.value)


def test_names_like_none_of_flavas_may_stay() -> None:
    """Other programs leave notes in configs; they are none of ours."""
    assert spec_of_config({"model_type": "flava"}) == spec_of_config(
        {"model_type": "flava", "my_notes": "x", "text_config": {"use_cache": True, "zebra": 1}}
    )


BASE = FlavaSpec()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion": None}, "fusion: transformers has no FLAVA without one"),
        (
            {"fusion": FusionTransformerSpec(mask_text_padding=False)},
            "fusion.mask_text_padding: transformers always hides padding from the fusion; with true, its scores of "
            "padded texts change likewise",
        ),
        (
            {"text_encoder": TextTransformerSpec(position_embedding="relative_key")},
            "text_encoder.position_embedding: transformers computes absolute positions only",
        ),
        ({"codebook": KMeansSpec()}, "codebook: transformers has no flava.kmeans, only flava.dvae"),
        (
            {"codebook": DVAESpec(groups=3, image_size=56)},
            "codebook.groups: transformers' codebook has 4 groups, not 3",
        ),
        (
            {"codebook": DVAESpec(image_size=224)},
            "codebook.image_size: gives 28x28 codes for 14x14 patches; transformers needs one a patch "
            "(see image_encoder.patch_size)",
        ),
        (
            {"losses": {"mim": MIMSpec(norm_eps=1e-5)}},
            "losses.mim.norm_eps: is 1e-05, but transformers has one for encoder and head, here 1e-12; make them equal "
            "(see image_encoder.norm_eps)",
        ),
        (
            {"losses": {"mine": MIMSpec()}},
            "losses.mine: transformers has no flava.mim of this name; it has mim, mlm, mmm_image, mmm_text, itm, "
            "global_contrastive",
        ),
        (
            {"losses": {"global_contrastive": GlobalContrastiveSpec(max_logit_scale=3.0, backprop="local")}},
            "losses.global_contrastive.max_logit_scale: transformers has 4.6052 for all models\n"
            "losses.global_contrastive.backprop: transformers has global and none only",
        ),
        (
            {"fusion": FusionTransformerSpec(width=384), "losses": {"mmm_image": BASE.losses["mmm_image"]}},
            "losses.mmm_image: reads 384 channels, but transformers' head has the encoder's 768 "
            "(see image_encoder.width)",
        ),
    ],
)
def test_specs_that_transformers_cannot_compute(changes: dict[str, Any], message: str) -> None:
    """Each part is named, all of them at once."""
    with pytest.raises(SpecError) as error:
        config_of_spec(BASE.model_copy(update=changes))

    assert message == str(error.value)
