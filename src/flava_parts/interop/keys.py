"""What the weights of a FLAVA model are called: here, in transformers, and in torchmultimodal. Names only, no torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeVar

Peer = Literal["transformers", "transformers_model", "torchmultimodal"]
"""Whose names: transformers' `FlavaForPreTraining` or `FlavaModel`, or torchmultimodal's `FLAVAForPreTraining`."""

Value = TypeVar("Value")

# One entry is what this package calls a module or a parameter, and what the peer does. ``{0}`` stands for a number
# counted from zero, ``{1}`` for one counted from one. An entry for a module covers its weight and its bias.
_Entry = tuple[str, str]
_NUMBER = re.compile(r"\{([01])\}")

_TRANSFORMERS_BLOCK = {
    "attention_norm": "layernorm_before",
    "attention.query": "attention.attention.query",
    "attention.key": "attention.attention.key",
    "attention.value": "attention.attention.value",
    "attention.output": "attention.output.dense",
    "mlp_norm": "layernorm_after",
    "mlp.up": "intermediate.dense",
    "mlp.down": "output.dense",
}
_TORCHMULTIMODAL_BLOCK = {
    "attention_norm": "attention_layernorm",
    "attention.query": "attention.query",
    "attention.key": "attention.key",
    "attention.value": "attention.value",
    "attention.output": "attention.output",
    "mlp_norm": "feedforward_layernorm",
    "mlp.up": "feedforward.model.0",
    "mlp.down": "feedforward.model.2",
}
# torchmultimodal's layers are counted, and one with dropout has one layer more.
_TORCHMULTIMODAL_BLOCK_WITH_DROPOUT = _TORCHMULTIMODAL_BLOCK | {"mlp.down": "feedforward.model.3"}
# Older transformers wrote these buffers into checkpoints; they are no weights.
_COUNTERS = re.compile(r"(.*\.)?embeddings\.(position_ids|token_type_ids)")


def _encoder(ours: str, theirs: str, block: Mapping[str, str]) -> Iterator[_Entry]:
    for mine, other in block.items():
        yield f"{ours}.blocks.{{0}}.{mine}", f"{theirs}.encoder.layer.{{0}}.{other}"
    yield f"{ours}.norm", f"{theirs}.layernorm"
    yield f"{ours}.pooler.dense", f"{theirs}.pooler.dense"


def _embeddings(image: str, text: str, text_norm: str) -> Iterator[_Entry]:
    yield "image_encoder.cls_token", f"{image}.embeddings.cls_token"
    yield "image_encoder.mask_token", f"{image}.embeddings.mask_token"
    yield "image_encoder.position_embedding", f"{image}.embeddings.position_embeddings"
    yield "image_encoder.patch_embedding.projection", f"{image}.embeddings.patch_embeddings.projection"
    yield "text_encoder.word_embedding", f"{text}.embeddings.word_embeddings"
    yield "text_encoder.position_embedding", f"{text}.embeddings.position_embeddings"
    yield "text_encoder.token_type_embedding", f"{text}.embeddings.token_type_embeddings"
    yield "text_encoder.embedding_norm", f"{text}.embeddings.{text_norm}"


def _projections(model: str) -> Iterator[_Entry]:
    yield "fusion.image_projection", f"{model}.image_to_mm_projection"
    yield "fusion.text_projection", f"{model}.text_to_mm_projection"
    yield "losses.global_contrastive.image_projection", f"{model}.image_projection"
    yield "losses.global_contrastive.text_projection", f"{model}.text_projection"


def _transformers() -> Iterator[_Entry]:
    image, text, fusion = "flava.image_model", "flava.text_model", "flava.multimodal_model"
    yield from _embeddings(image, text, "LayerNorm")
    yield from _encoder("image_encoder", image, _TRANSFORMERS_BLOCK)
    yield from _encoder("text_encoder", text, _TRANSFORMERS_BLOCK)
    yield from _encoder("fusion", fusion, _TRANSFORMERS_BLOCK)
    yield "fusion.cls_token", f"{fusion}.cls_token"
    yield from _projections("flava")
    yield "losses.global_contrastive.logit_scale", "flava.logit_scale"
    for loss in ("mim", "mlm", "mmm_image", "mmm_text"):
        yield f"losses.{loss}.head.dense", f"{loss}_head.transform.dense"
        yield f"losses.{loss}.head.norm", f"{loss}_head.transform.LayerNorm"
        yield f"losses.{loss}.head.decoder", f"{loss}_head.decoder"
        yield f"losses.{loss}.head.decoder.bias", f"{loss}_head.bias"
    yield "losses.itm.dense", "itm_head.pooler.dense"
    yield "losses.itm.classifier", "itm_head.seq_relationship"
    blocks = "image_codebook.blocks"
    yield "codebook.input", f"{blocks}.input"
    yield "codebook.groups.{0}.{0}.skip", f"{blocks}.group_{{1}}.group.block_{{1}}.id_path"
    yield "codebook.groups.{0}.{0}.path.{0}", f"{blocks}.group_{{1}}.group.block_{{1}}.res_path.path.conv_{{1}}"
    yield "codebook.output", f"{blocks}.output.conv"


def _torchmultimodal() -> Iterator[_Entry]:
    image, text, fusion = "model.image_encoder", "model.text_encoder", "model.mm_encoder"
    yield from _embeddings(image, text, "layer_norm")
    yield from _encoder("image_encoder", image, _TORCHMULTIMODAL_BLOCK)
    yield from _encoder("text_encoder", text, _TORCHMULTIMODAL_BLOCK)
    yield from _encoder("fusion", fusion, _TORCHMULTIMODAL_BLOCK)
    yield "fusion.cls_token", f"{fusion}.cls_token"
    yield from _projections("model")
    yield "losses.global_contrastive.logit_scale", "loss.contrastive_loss.logit_scale"
    for loss, theirs in (
        ("mim", "mim_loss"),
        ("mlm", "mlm_loss"),
        ("mmm_image", "mmm_loss.mim"),
        ("mmm_text", "mmm_loss.mlm"),
    ):
        yield f"losses.{loss}.head.dense", f"loss.{theirs}.cls.dense"
        yield f"losses.{loss}.head.norm", f"loss.{theirs}.cls.layer_norm"
        yield f"losses.{loss}.head.decoder", f"loss.{theirs}.cls.decoder"
        yield f"losses.{loss}.head.decoder.bias", f"loss.{theirs}.cls.bias"
    yield "losses.itm.dense", "loss.itm_loss.pooler.dense"
    yield "losses.itm.classifier", "loss.itm_loss.cls.seq_relationship"
    blocks = "image_codebook.encoder.blocks"
    for mine, other in (("weight", "w"), ("bias", "b")):
        yield f"codebook.input.{mine}", f"{blocks}.input.{other}"
        yield f"codebook.groups.{{0}}.{{0}}.skip.{mine}", f"{blocks}.group_{{1}}.block_{{1}}.id_path.{other}"
        yield (
            f"codebook.groups.{{0}}.{{0}}.path.{{0}}.{mine}",
            f"{blocks}.group_{{1}}.block_{{1}}.res_path.conv_{{1}}.{other}",
        )
        yield f"codebook.output.{mine}", f"{blocks}.output.conv.{other}"


def _torchmultimodal_with_dropout() -> Iterator[_Entry]:
    for ours, model in (
        ("image_encoder", "model.image_encoder"),
        ("text_encoder", "model.text_encoder"),
        ("fusion", "model.mm_encoder"),
    ):
        yield from _encoder(ours, model, _TORCHMULTIMODAL_BLOCK_WITH_DROPOUT)


def _entries(peer: Peer) -> Iterator[_Entry]:
    match peer:
        case "transformers":
            yield from _transformers()
        case "transformers_model":
            yield from (
                (ours, name.removeprefix("flava.")) for ours, name in _transformers() if name.startswith("flava.")
            )
        case "torchmultimodal":
            yield from _torchmultimodal()


@dataclass(frozen=True, slots=True)
class _Rule:
    """How one kind of name changes: what it looks like, where each of its numbers starts, and what it becomes."""

    before: re.Pattern[str]
    starts: tuple[int, ...]
    after: str

    @classmethod
    def of(cls, before: str, after: str) -> _Rule:
        words = [re.escape(word) for word in _NUMBER.sub("{}", before).split("{}")]
        return cls(
            before=re.compile(r"(\d+)".join(words) + r"((?:\.weight|\.bias)?)"),
            starts=tuple(int(one) for one in _NUMBER.findall(before)),
            after=after,
        )

    def __call__(self, name: str) -> str | None:
        found = self.before.fullmatch(name)
        if found is None:
            return None
        *numbers, leaf = found.groups()
        counted = iter([int(number) - start for number, start in zip(numbers, self.starts, strict=True)])
        return _NUMBER.sub(lambda one: str(next(counted) + int(one[1])), self.after) + leaf


@cache
def _rules(peer: Peer, *, to_ours: bool) -> tuple[_Rule, ...]:
    if not to_ours:
        return tuple(_Rule.of(ours, theirs) for ours, theirs in _entries(peer))
    entries = [*_entries(peer), *(_torchmultimodal_with_dropout() if peer == "torchmultimodal" else ())]
    return tuple(_Rule.of(theirs, ours) for ours, theirs in entries)


def our_name(name: str, peer: Peer) -> str | None:
    """What this package calls a weight of the peer; None if it has no such weight."""
    return next((ours for rule in _rules(peer, to_ours=True) if (ours := rule(name)) is not None), None)


def their_names(name: str, peer: Peer) -> tuple[str, ...]:
    """What the peer calls a weight of this package; nothing if it has no such weight.

    There are two names for the bias of a prediction head's decoder, which both peers store twice.
    """
    return tuple(theirs for rule in _rules(peer, to_ours=False) if (theirs := rule(name)) is not None)


def to_ours(state: Mapping[str, Value], peer: Peer) -> dict[str, Value]:
    """A state dict of the peer under this package's names; the values are passed on, not copied.

    Raises KeyError with every name that this package has no weight for.
    """
    state = {name: value for name, value in state.items() if not _COUNTERS.fullmatch(name)}
    names = {name: our_name(name, peer) for name in state}
    unknown = [name for name, ours in names.items() if ours is None]
    if unknown:
        raise KeyError(f"no part has weights that {peer} calls {', '.join(unknown)}")
    return {ours: state[name] for name, ours in names.items() if ours is not None}


def from_ours(state: Mapping[str, Value], peer: Peer) -> dict[str, Value]:
    """A state dict of this package under the peer's names; the values are passed on, not copied.

    Raises KeyError with every name that the peer has no weight for.
    """
    names = {name: their_names(name, peer) for name in state}
    unknown = [name for name, theirs in names.items() if not theirs]
    if unknown:
        raise KeyError(f"{peer} has no place for {', '.join(unknown)}")
    return {found: state[name] for name, theirs in names.items() for found in theirs}


def part_from_ours(state: Mapping[str, Value], slot: str) -> dict[str, Value]:
    """A part's state dict of this package under the names that transformers gives to the part alone.

    The projections of a fusion are left out: alone, it takes states that are projected already.
    """
    whole = from_ours({f"{slot}.{name}": value for name, value in state.items()}, "transformers")
    root = ROOTS[slot]
    return {name.removeprefix(root): value for name, value in whole.items() if name.startswith(root)}


ROOTS: Mapping[str, str] = {
    "image_encoder": "flava.image_model.",
    "text_encoder": "flava.text_model.",
    "fusion": "flava.multimodal_model.",
    "codebook": "image_codebook.",
}
"""Where each part lies in transformers' `FlavaForPreTraining`, by the slot that it fills here."""

_WHOLE: Mapping[Peer, tuple[str, ...]] = {
    "transformers": ("", "flava."),
    "transformers_model": ("",),
    "torchmultimodal": ("", "model."),
}


def under_any_prefix(names: Iterable[str], peer: Peer, slot: str | None = None) -> dict[str, str | None]:
    """What this package calls each weight of the peer, whatever the prefix they were all saved under.

    A bare encoder's weights have no prefix, those of a wrapped model one more; the right one is that under which most
    weights are known. ``slot`` says which part it is, if it is one alone. None stands for a weight that no part has.
    """
    names = [name for name in names if not _COUNTERS.fullmatch(name)]
    # One layer's names stand for all of them: deciding takes as long for forty layers as for two.
    kinds = {re.sub(r"\.\d+\.", ".1.", name) for name in names}
    roots = (*([ROOTS[slot]] if slot else ()), *_WHOLE[peer])

    def known(choice: tuple[str, str]) -> int:
        return sum(_under(name, choice, peer) is not None for name in kinds)

    choices = [(prefix, root) for prefix in _shared_prefixes(kinds) for root in roots]
    best = max(choices, key=known)
    return {name: _under(name, best, peer) for name in names}


def _under(name: str, choice: tuple[str, str], peer: Peer) -> str | None:
    prefix, root = choice
    return our_name(root + name[len(prefix) :], peer) if name.startswith(prefix) else None


def _shared_prefixes(names: Collection[str]) -> list[str]:
    """The dotted prefixes that at least half of the names have, the empty one first."""
    counts = Counter(name[: dot.end()] for name in names for dot in re.finditer(r"\.", name))
    return ["", *(prefix for prefix, count in counts.items() if 2 * count >= len(names))]
