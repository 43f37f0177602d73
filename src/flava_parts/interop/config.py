"""transformers' config.json and our spec: each from the other. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from ..codebooks.specs import DVAESpec
from ..encoders.specs import TextTransformerSpec, ViTSpec
from ..errors import InputError, Problem, SpecError
from ..facts import IGNORE, Grid
from ..fusion.specs import FusionTransformerSpec
from ..losses.specs import (
    GlobalContrastiveSpec,
    ITMSpec,
    LossSpec,
    MaskedPredictionSpec,
    MIMSpec,
    MLMSpec,
    MMMImageSpec,
    MMMTextSpec,
)
from ..maskers.specs import BertTokenMaskerSpec, BlockMaskerSpec
from ..part import PartSpec
from ..spec import FlavaSpec

CONFIG = "config.json"

# What transformers calls each field of a spec.
_TOWER = {
    "hidden_size": "width",
    "num_hidden_layers": "depth",
    "num_attention_heads": "heads",
    "intermediate_size": "mlp_width",
    "hidden_act": "activation",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
    "initializer_range": "init_std",
    "layer_norm_eps": "norm_eps",
    "qkv_bias": "qkv_bias",
}
_IMAGE = _TOWER | {
    "image_size": "image_size",
    "patch_size": "patch_size",
    "num_channels": "channels",
    "mask_token": "mask_token",
}
_TEXT = _TOWER | {
    "vocab_size": "vocab_size",
    "max_position_embeddings": "length",
    "type_vocab_size": "token_types",
    "pad_token_id": "pad_token_id",
}
_FUSION = _TOWER | {"use_cls_token": "cls_token"}
_CODEBOOK = {
    "input_channels": "channels",
    "num_blocks_per_group": "blocks",
    "hidden_size": "width",
    "vocab_size": "vocab_size",
    "freeze": "freeze",
}
_CONTRASTIVE = {
    "projection_dim": "projection",
    "logit_scale_init_value": "logit_scale",
    "initializer_range": "init_std",
    "global_contrastive_weight": "weight",
}

# Fields that say nothing about a spec, or are read by hand; and transformers' defaults where they are not ours.
_OTHERS: dict[str, tuple[str, ...]] = {
    "image_config": ("vocab_size",),
    "text_config": ("position_embedding_type", "image_size", "patch_size", "num_channels"),
    "multimodal_config": (),
    "image_codebook_config": ("num_groups", "initializer_range"),
    "": (
        "hidden_size",
        "layer_norm_eps",
        "init_codebook",
        "ce_ignore_index",
        "mim_weight",
        "mlm_weight",
        "itm_weight",
        "mmm_image_weight",
        "mmm_text_weight",
        "global_backprop_contrastive",
        "skip_unmasked_multimodal_encoder",
        "return_loss",
        "tie_word_embeddings",
        "initializer_factor",
    ),
}
_BLOCKS: dict[str, dict[str, str]] = {
    "image_config": _IMAGE,
    "text_config": _TEXT,
    "multimodal_config": _FUSION,
    "image_codebook_config": _CODEBOOK,
}
_DEFAULTS = {"intermediate_size": 3072}
_IMAGE_VOCAB = 8192

HEADS: Mapping[str, type[LossSpec]] = {
    "mim": MIMSpec,
    "mlm": MLMSpec,
    "mmm_image": MMMImageSpec,
    "mmm_text": MMMTextSpec,
    "itm": ITMSpec,
}
"""The losses that have a head in transformers' `FlavaForPreTraining`, under both libraries' common names."""

SLOTS: Mapping[str, str] = {
    "flava_image_model": "image_encoder",
    "flava_text_model": "text_encoder",
    "flava_multimodal_model": "fusion",
    "flava_image_codebook": "codebook",
    "flava_codebook": "codebook",
}
"""The slot that a part of FLAVA fills when it was saved alone, by its ``model_type``."""

_ALONE: Mapping[str, tuple[str, type[PartSpec], str, str]] = {
    "image_encoder": ("image_config", ViTSpec, "flava_image_model", "FlavaImageModel"),
    "text_encoder": ("text_config", TextTransformerSpec, "flava_text_model", "FlavaTextModel"),
    "fusion": ("multimodal_config", FusionTransformerSpec, "flava_multimodal_model", "FlavaMultimodalModel"),
    "codebook": ("image_codebook_config", DVAESpec, "flava_image_codebook", "FlavaImageCodebook"),
}
"""Of each part that transformers has a class for: its block in a whole config, our spec, its type, its class."""

S = TypeVar("S", bound=PartSpec)


# ------------------------------------------------------------------------------------------------- from transformers


def spec_of_config(config: Mapping[str, Any]) -> FlavaSpec:
    """The model that transformers builds from a ``config.json``: `FlavaForPreTraining`, or `FlavaModel` if it says so.

    Fields that are not there have transformers' defaults. A `FlavaModel` is a spec whose only loss is the contrastive
    one, for its projections. Raises InputError for another architecture, for a field that is misspelt or lies where
    transformers ignores it, and for a value that no part here has.
    """
    _check_model_type(config, ("flava",))
    blocks = {name: _block(config, name) for name in _BLOCKS}
    _check_names("", config, (*_CONTRASTIVE, *_OTHERS[""]))
    for name, block in blocks.items():
        _check_names(name, block, (*_BLOCKS[name], *_OTHERS[name]))
    if config.get("ce_ignore_index", IGNORE) != IGNORE:
        raise InputError(f"ce_ignore_index: labels to be ignored are {IGNORE} here; set it so, and give such labels")
    image, text, fusion = (
        _image(blocks["image_config"]),
        _text(blocks["text_config"]),
        _fusion(blocks["multimodal_config"]),
    )
    losses: dict[str, LossSpec] = {}
    codebook = None
    architectures = config.get("architectures") or ()
    if not isinstance(architectures, Sequence):
        raise InputError(f"architectures: should be a list of names, not {architectures!r}")
    if "FlavaModel" not in architectures:
        codebook = _codebook_of_model(config, blocks, image.tokens.grid)
        for name, kind in HEADS.items():
            tower = {"mim": image, "mmm_image": image, "mlm": text, "mmm_text": text}.get(name)
            fields: dict[str, Any] = {
                "weight": config.get(f"{name}_weight", 1.0),
                "init_std": config.get("initializer_range", 0.02),
            }
            if tower is not None:
                fields |= {"activation": tower.activation, "norm_eps": tower.norm_eps}
            losses[name] = _made(kind, fields, "", {"weight": f"{name}_weight", "init_std": "initializer_range"})
        losses["itm"] = losses["itm"].model_copy(update={"all_negative": "as_positive"})
    # transformers gathers without gradient where it does not gather with it for every rank.
    backprop = "global" if config.get("global_backprop_contrastive", True) else "none"
    losses["global_contrastive"] = _read(GlobalContrastiveSpec, config, "", _CONTRASTIVE, backprop=backprop)
    masks = codebook is not None
    hideable = BlockMaskerSpec()
    return FlavaSpec(
        image_encoder=image,
        text_encoder=text,
        fusion=fusion,
        codebook=codebook,
        image_masker=hideable if masks and hideable.hides_in(image.tokens.grid) else None,
        text_masker=BertTokenMaskerSpec() if masks and text.vocab_size > _LAST_SPECIAL else None,
        pair_masker=FlavaSpec.model_fields["pair_masker"].default if masks else None,
        losses=losses,
    )


_LAST_SPECIAL = 103
"""The highest of bert-base-uncased's special ids."""


def part_of_config(config: Mapping[str, Any]) -> tuple[str, PartSpec]:
    """The slot and the spec of a part that was saved alone: an encoder or the codebook.

    Raises InputError as `spec_of_config` does.
    """
    _check_model_type(config, tuple(SLOTS))
    slot = SLOTS[str(config["model_type"])]
    name, *_ = _ALONE[slot]
    _check_names("", config, (*_BLOCKS[name], *_OTHERS[name]))
    match slot:
        case "image_encoder":
            return slot, _image(config, "")
        case "text_encoder":
            return slot, _text(config, "")
        case "fusion":
            return slot, _fusion(config, "")
        case _:
            return slot, _codebook(config, "")


def _image(block: Mapping[str, Any], where: str = "image_config") -> ViTSpec:
    return _read(ViTSpec, block, where, _IMAGE, pooler=True)


def _text(block: Mapping[str, Any], where: str = "text_config") -> TextTransformerSpec:
    if block.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(
            f"{_path(where, 'position_embedding_type')}: transformers computes absolute positions whatever it says; "
            "set it to absolute"
        )
    return _read(TextTransformerSpec, block, where, _TEXT, pooler=True)


def _fusion(block: Mapping[str, Any], where: str = "multimodal_config") -> FusionTransformerSpec:
    return _read(FusionTransformerSpec, block, where, _FUSION, pooler=True)


def _codebook(block: Mapping[str, Any], where: str = "image_codebook_config", **fixed: Any) -> DVAESpec:
    if block.get("num_groups", 4) != 4:
        raise InputError(
            f"{_path(where, 'num_groups')}: transformers builds four groups whatever it says, with the gain of "
            f"{block['num_groups']}; no codebook here computes that, so train with 4"
        )
    return _read(DVAESpec, block, where, _CODEBOOK, **fixed)


def _codebook_of_model(config: Mapping[str, Any], blocks: Mapping[str, Mapping[str, Any]], grid: Grid) -> DVAESpec:
    """The codebook, as large as the image's patches need; the heads predict the image_config's vocabulary."""
    vocab = blocks["image_config"].get("vocab_size", _IMAGE_VOCAB)
    block = blocks["image_codebook_config"]
    if not config.get("init_codebook", True):
        block = {**block, "vocab_size": vocab, "num_groups": 4}
    size = (8 * grid.rows, 8 * grid.columns)
    codebook = _codebook(block, image_size=size[0] if size[0] == size[1] else size)
    if codebook.vocab_size != vocab:
        raise InputError(
            f"image_config.vocab_size: heads predict {vocab} codes, but the codebook gives {codebook.vocab_size} "
            "(image_codebook_config.vocab_size); make them equal"
        )
    return codebook


def _block(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part's block. Old versions wrote a second one, ``..._dict``, which wins over the first."""
    old = config.get(f"{name}_dict")
    block = old if old is not None else config.get(name)
    if block is None:
        return {}
    if not isinstance(block, Mapping):
        raise InputError(f"{name}: should be a block of fields, not {block!r}")
    return cast(Mapping[str, Any], block)


def _check_model_type(config: Mapping[str, Any], known: Sequence[str]) -> None:
    found = config.get("model_type")
    if found not in known:
        what = (
            f"the config of a model of type {found!r}" if found else "not the config of a model: it has no model_type"
        )
        raise InputError(f"{what}, where FLAVA's is {' or '.join(known)}; give a FLAVA checkpoint")


def _check_names(where: str, block: Mapping[str, Any], known: Iterable[str]) -> None:
    """transformers drops what it does not know without a word; refuse what was meant to be one of FLAVA's fields.

    Its configs also carry dozens of fields of their base class, so a name that is like none of FLAVA's may stay.
    """
    known = set(known)
    for name in block:
        absent = sorted(known - set(block))
        near = get_close_matches(name, absent, n=1, cutoff=0.85) if name not in known else []
        if near:
            raise InputError(f"{_path(where, name)}: unknown field; did you mean {near[0]!r}?")
        homes = [part for part, table in _BLOCKS.items() if name in table and name != "pad_token_id"]
        if name not in known and homes and _BLOCKS.keys() & block.keys():
            raise InputError(
                f"{_path(where, name)}: transformers ignores it here; it belongs into {' or '.join(homes)}"
            )


def _read(kind: type[S], block: Mapping[str, Any], where: str, table: Mapping[str, str], **fixed: Any) -> S:
    """The spec that a block's fields describe, with transformers' defaults for those it lacks."""
    given = {name: _DEFAULTS[name] for name in table if name in _DEFAULTS}
    given |= {name: block[name] for name in table if name in block}
    return _made(
        kind,
        {table[name]: value for name, value in given.items()} | fixed,
        where,
        {ours: name for name, ours in table.items()},
    )


def _made(kind: type[S], fields: Mapping[str, Any], where: str, names: Mapping[str, str]) -> S:
    try:
        return kind(**fields)
    except ValidationError as error:
        faults: list[str] = []
        for fault in error.errors():
            field = fault["loc"][0] if fault["loc"] else fault.get("ctx", {}).get("field")
            faults.append(f"{_path(where, names.get(str(field), str(field)))}: {fault['msg']}")
        raise InputError("; ".join(faults)) from None


def _path(where: str, name: str) -> str:
    return ".".join(filter(None, [where, name]))


# --------------------------------------------------------------------------------------------------- to transformers


def config_of_spec(spec: FlavaSpec) -> dict[str, Any]:
    """The ``config.json`` from which transformers builds the model of a spec.

    It is that of a `FlavaModel` if there is nothing but encoders, fusion and contrastive loss, and otherwise of a
    `FlavaForPreTraining`, where a loss that the spec leaves out weighs 0. How weights start is kept for the encoders
    and the first loss; what only concerns training here (maskers, a batch without true pairs) has no place there.
    Raises SpecError naming every part that transformers cannot compute.
    """
    problems = list(_without_counterpart(spec))
    if problems:
        raise SpecError(problems)
    image, text, fusion = cast(ViTSpec, spec.image_encoder), cast(TextTransformerSpec, spec.text_encoder), spec.fusion
    codebook = cast(DVAESpec | None, spec.codebook)
    whole = codebook is not None or any(name in HEADS for name in spec.losses)
    contrastive = cast(GlobalContrastiveSpec | None, spec.losses.get("global_contrastive"))
    first = next(iter(spec.losses.values()), None)
    vocab = codebook.vocab_size if codebook is not None else _IMAGE_VOCAB
    config: dict[str, Any] = {
        "architectures": ["FlavaForPreTraining" if whole else "FlavaModel"],
        "model_type": "flava",
        "image_config": _written(image, _IMAGE) | {"vocab_size": vocab, "model_type": "flava_image_model"},
        "text_config": _written(text, _TEXT) | {"model_type": "flava_text_model"},
        "multimodal_config": _written(cast(PartSpec, fusion), _FUSION) | {"model_type": "flava_multimodal_model"},
        "image_codebook_config": _written(codebook or DVAESpec(vocab_size=vocab), _CODEBOOK)
        | {"num_groups": 4, "model_type": "flava_image_codebook"},
        "hidden_size": cast(FusionTransformerSpec, fusion).width,
        "layer_norm_eps": image.norm_eps,
        "init_codebook": codebook is not None,
        **_written(contrastive or GlobalContrastiveSpec(weight=0.0), _CONTRASTIVE),
        "initializer_range": getattr(first, "init_std", image.init_std),
        "global_backprop_contrastive": contrastive is None or contrastive.backprop == "global",
        "ce_ignore_index": IGNORE,
    }
    for name in HEADS:
        config[f"{name}_weight"] = spec.losses[name].weight if name in spec.losses else 0.0
    return config


def config_of_part(slot: str, part: PartSpec) -> dict[str, Any]:
    """The ``config.json`` from which transformers builds a part alone: an encoder, the fusion, or the codebook.

    Raises InputError if transformers has no class for what fills that slot, and SpecError if it cannot compute it.
    """
    if slot not in _ALONE:
        raise InputError(f"transformers saves no {slot} alone; it has {', '.join(_ALONE)}")
    problems = list(_part_without_counterpart(slot, part))
    if problems:
        raise SpecError(problems)
    name, _, model_type, architecture = _ALONE[slot]
    groups = {"num_groups": 4} if slot == "codebook" else {}
    return _written(part, _BLOCKS[name]) | groups | {"architectures": [architecture], "model_type": model_type}


def _written(part: PartSpec, table: Mapping[str, str]) -> dict[str, Any]:
    fields = part.model_dump(mode="json")
    if "mlp_width" in fields:
        fields["mlp_width"] = fields["mlp_width"] or 4 * fields["width"]
    return {theirs: fields[ours] for theirs, ours in table.items()}


def _without_counterpart(spec: FlavaSpec) -> Iterator[Problem]:
    """Everything in a spec that transformers has no way to say, and that changes what the model computes."""
    parts: dict[str, PartSpec | None] = {slot: getattr(spec, slot) for slot in _ALONE}
    strangers = [slot for slot, part in parts.items() if part is not None and type(part) is not _ALONE[slot][1]]
    for slot, part in parts.items():
        if part is not None:
            yield from _part_without_counterpart(slot, part)
    if spec.fusion is None:
        yield Problem(("fusion",), "transformers has no FLAVA without one")
    for name, loss in spec.losses.items():
        known: Mapping[str, type[LossSpec]] = {**HEADS, "global_contrastive": GlobalContrastiveSpec}
        if known.get(name) is not type(loss):
            yield Problem(
                ("losses", name),
                f"transformers has no {loss.type_name()} of this name; it has {', '.join(known)}",
            )
            strangers.append(name)
    if not strangers and spec.fusion is not None:
        yield from _other_computation(spec)


def _part_without_counterpart(slot: str, part: PartSpec) -> Iterator[Problem]:
    """What of one part transformers has no way to say."""
    kind = _ALONE[slot][1]
    if type(part) is not kind:
        yield Problem((slot,), f"transformers has no {part.type_name()}, only {kind.type_name()}")
        return
    if isinstance(part, TextTransformerSpec) and part.position_embedding != "absolute":
        yield Problem((slot, "position_embedding"), "transformers computes absolute positions only")
    if isinstance(part, FusionTransformerSpec) and not part.mask_text_padding:
        yield Problem(
            (slot, "mask_text_padding"),
            "transformers always hides padding from the fusion; with true, its scores of padded texts change likewise",
        )
    if isinstance(part, DVAESpec) and part.groups != 4:
        yield Problem((slot, "groups"), f"transformers' codebook has 4 groups, not {part.groups}")


def _other_computation(spec: FlavaSpec) -> Iterator[Problem]:
    image, text = cast(ViTSpec, spec.image_encoder), cast(TextTransformerSpec, spec.text_encoder)
    fusion, codebook = cast(FusionTransformerSpec, spec.fusion), cast(DVAESpec | None, spec.codebook)
    if codebook is not None and codebook.codes.grid != image.tokens.grid:
        yield Problem(
            ("codebook", "image_size"),
            f"gives {codebook.codes.grid} codes for {image.tokens.grid} patches; transformers needs one a patch",
            see=("image_encoder", "patch_size"),
        )
    for name, (tower, slot) in {
        "mim": (image, "image_encoder"),
        "mmm_image": (image, "image_encoder"),
        "mlm": (text, "text_encoder"),
        "mmm_text": (text, "text_encoder"),
    }.items():
        loss = cast(MaskedPredictionSpec | None, spec.losses.get(name))
        for field in ("activation", "norm_eps") if loss is not None else ():
            mine, theirs = getattr(loss, field), getattr(tower, field)
            if mine != theirs:
                yield Problem(
                    ("losses", name, field),
                    f"is {mine}, but transformers has one for encoder and head, here {theirs}; make them equal",
                    see=(slot, field),
                )
        if loss is not None and name.startswith("mmm") and fusion.width != tower.width:
            yield Problem(
                ("losses", name),
                f"reads {fusion.width} channels, but transformers' head has the encoder's {tower.width}",
                see=(slot, "width"),
            )
    contrastive = cast(GlobalContrastiveSpec | None, spec.losses.get("global_contrastive"))
    if contrastive is not None:
        usual = GlobalContrastiveSpec()
        for field in ("min_logit_scale", "max_logit_scale"):
            if getattr(contrastive, field) != getattr(usual, field):
                yield Problem(
                    ("losses", "global_contrastive", field), f"transformers has {getattr(usual, field)} for all models"
                )
        if contrastive.backprop == "local":
            yield Problem(("losses", "global_contrastive", "backprop"), "transformers has global and none only")
