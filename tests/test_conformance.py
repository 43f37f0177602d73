"""Every registered part keeps its kind's contract: names, defaults, and facts that are true."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import codebooks, flava_specs, fusions, grids, image_maskers, text_encoders, text_maskers, vits

from flava_parts.data.sources.coco_captions import CocoCaptions
from flava_parts.data.sources.hf_dataset import HFDataset
from flava_parts.data.sources.image_folder import ImageFolder
from flava_parts.data.sources.parquet import Parquet
from flava_parts.data.sources.pictures import Pictures
from flava_parts.data.sources.shards import Shards
from flava_parts.data.sources.specs import EmojiSpec
from flava_parts.data.sources.table import Table
from flava_parts.data.sources.texts import Texts
from flava_parts.part import PartSpec
from flava_parts.plugins import default_registry
from flava_parts.testing import check_part, laws_of
from flava_parts.testing.check import BENCHES
from flava_parts.train.optimizers import adamw, muon

HELD_OUT = EmojiSpec(split="held_out")
REQUIRED: dict[str, dict[str, Any]] = {
    "flava.retrieval": {"source": HELD_OUT},
    "flava.zero_shot": {"source": HELD_OUT},
    "flava.image_folder": {"folder": "pictures"},
    "flava.pictures": {"folder": "pictures"},
    "flava.texts": {"files": "*.txt"},
    "flava.table": {"file": "captions.csv", "folder": "pictures"},
    "flava.coco_captions": {"file": "captions.json", "folder": "pictures"},
    "flava.shards": {"shards": "*.tar"},
    "flava.parquet": {"files": "*.parquet"},
    "flava.hf_dataset": {"folder": "saved"},
    "flava.probe": {"train": EmojiSpec(), "test": HELD_OUT},
    "flava.piecewise": {"points": ((0, 1.0),)},
}
"""The fields of specs that have no default."""

CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "flava.adamw": adamw,
    "flava.muon": muon,
    "flava.image_folder": ImageFolder.__init__,
    "flava.pictures": Pictures.__init__,
    "flava.texts": Texts.__init__,
    "flava.table": Table.__init__,
    "flava.coco_captions": CocoCaptions.__init__,
    "flava.shards": Shards.__init__,
    "flava.parquet": Parquet.__init__,
    "flava.hf_dataset": HFDataset.__init__,
}
"""Of parts that build a library's object, or need files to be built."""


SMALL: dict[str, dict[str, Any]] = {
    "flava.vit": {"image_size": 16, "patch_size": 4, "width": 8, "depth": 1, "heads": 2},
    "flava.text": {"width": 8, "depth": 1, "heads": 2, "vocab_size": 200, "length": 12},
    "flava.fusion": {"width": 8, "depth": 1, "heads": 2},
    "flava.dvae": {
        "image_size": 16,
        "groups": 2,
        "blocks": 1,
        "width": 4,
        "vocab_size": 11,
        "weights": "random",
    },
    "flava.kmeans": {"image_size": 16, "patch_size": 4, "vocab_size": 11, "iterations": 1},
    "flava.global_contrastive": {"projection": 8},
    "flava.mlp_classifier": {"hidden": 8},
}
"""Fields that keep a part small."""

OF_A_MODEL = {
    "image_encoder",
    "text_encoder",
    "fusion",
    "codebook",
    "image_masker",
    "text_masker",
    "pair_masker",
    "loss",
    "head",
}
OUTSIDE = ("flava.wordpiece", "flava.emoji", "flava.adamw", "flava.warmup_cosine", "flava.jsonl", "flava.retrieval")
"""Of the other kinds, one part each; the rest read files or need a library, and have tests of their own."""

WRITTEN = ("described", "round_trip", "constructor")
"""The laws that a spec keeps whatever its fields are."""


def all_parts() -> list[type[PartSpec]]:
    """Every part that is registered."""
    return [entry.spec for entry in default_registry().entries.values()]


def broken(spec: PartSpec, *names: str, **options: Any) -> list[str]:
    """The laws that a part breaks, with the reasons, of those of these names that its kind has."""
    only = [law.name for law in laws_of(spec.kind) if law.name in names]
    return [str(check) for check in check_part(spec, only=only, **options).failed]


def test_every_kind_of_part_is_registered():
    kinds = {spec.kind for spec in all_parts()}

    assert set(BENCHES) == kinds


@pytest.mark.parametrize("spec", all_parts(), ids=lambda spec: spec.type_name())
def test_a_part_is_described_and_its_constructor_has_its_names_and_defaults(spec):
    """With the defaults of its spec; nothing of it is allocated."""
    part = spec(**REQUIRED.get(spec.type_name(), {}))

    assert [] == broken(part, *WRITTEN, constructor=CONSTRUCTORS.get(spec.type_name()))


@pytest.mark.parametrize("spec", all_parts(), ids=lambda spec: spec.type_name())
def test_specs_are_frozen_and_pickle(spec):
    part = spec(**REQUIRED.get(spec.type_name(), {}))

    assert part == pickle.loads(pickle.dumps(part))
    with pytest.raises(ValueError, match="frozen"):
        setattr(part, next(iter(spec.model_fields)), "other")


@pytest.mark.parametrize(
    "spec",
    [spec for spec in all_parts() if spec.kind in OF_A_MODEL or spec.type_name() in OUTSIDE],
    ids=lambda spec: spec.type_name(),
)
def test_a_part_keeps_every_law_of_its_kind(spec):
    """That its spec is free of torch is seen elsewhere, for all at once."""
    name = spec.type_name()
    part = spec(**REQUIRED.get(name, {}), **SMALL.get(name, {}))
    laws = {law.name for law in laws_of(spec.kind)} - {"torch_free", *WRITTEN}

    assert [] == broken(part, *laws)


@given(spec=st.one_of(vits(), text_encoders(), fusions(), codebooks()))
def test_facts_are_true_for_any_fields(spec):
    """So is what hides, what is padding, and where things lie."""
    names = ("facts", "masking", "padding", "text_padding", "layout", "fused_padding", "codes")

    assert [] == broken(spec, *names)


@given(spec=st.one_of(grids().flatmap(image_maskers), text_maskers()))
def test_maskers_draw_from_their_generator(spec):
    assert [] == broken(spec, "generator", "masks", "labels")


@settings(max_examples=10)
@given(spec=flava_specs())
def test_every_loss_has_a_graph_and_a_count(spec):
    """In any model: streams of the stated shapes give a finite value that reaches the loss's own parameters."""
    for loss in spec.losses.values():
        assert [] == broken(loss, "facts", "gradients", "declared_streams", "weight", "empty", "dense", model=spec)
