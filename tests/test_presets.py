"""The presets: what each says, and that it says it rightly."""

from __future__ import annotations

import pytest

from flava_parts.document import parse
from flava_parts.loading import load_any, load_run, load_spec
from flava_parts.plugins import load_registry
from flava_parts.spec import FinetuneSpec, FlavaSpec, RunSpec
from flava_parts.writing import to_yaml

REGISTRY = load_registry(entry_points=False)
LADDER = {
    "flava.900m": (24, 12, 1024, 4096),
    "flava.1.8b": (32, 16, 1280, 5120),
    "flava.2.7b": (40, 20, 1408, 6144),
    "flava.4.8b": (48, 24, 1664, 8192),
    "flava.10b": (64, 40, 2048, 10240),
}


@pytest.mark.parametrize("name", sorted(REGISTRY.presets))
def test_presets_load(name: str) -> None:
    """Each is right, and survives being written."""
    spec = load_any(name, registry=REGISTRY)

    assert spec == load_any(to_yaml(spec), registry=REGISTRY)


def test_base_is_the_default_with_poolers() -> None:
    """`flava.base` and a model that says nothing differ in the poolers of the published checkpoint only."""
    plain = FlavaSpec()
    assert plain.fusion is not None
    pooled = {
        slot: part.model_copy(update={"pooler": True})
        for slot, part in (
            ("image_encoder", plain.image_encoder),
            ("text_encoder", plain.text_encoder),
            ("fusion", plain.fusion),
        )
    }

    assert plain.model_copy(update=pooled) == load_spec("flava.base", registry=REGISTRY)


def test_base_writes_everything_out() -> None:
    """Nothing of `flava.base` is left to a default, but for the codebook's weights."""
    written = parse(REGISTRY.presets["flava.base"].file.read_bytes(), "flava.base").plain()
    resolved = parse(to_yaml(load_spec("flava.base", registry=REGISTRY)), "m.yaml").plain()
    weights = resolved["codebook"].pop("weights")

    assert resolved == written
    assert weights is None


def test_paper_has_the_papers_projection() -> None:
    """Table A.1 has 512, the released checkpoint 768."""
    base, paper = (load_spec(name, registry=REGISTRY) for name in ("flava.base", "flava.paper"))

    assert (768, 512) == tuple(spec.losses["global_contrastive"].arguments()["projection"] for spec in (base, paper))
    assert base.image_encoder == paper.image_encoder


def test_the_papers_run_has_the_papers_numbers() -> None:
    """Section 4 and table A.1: batches of 8192 of one stream each, .70 / .15 / .15, a rate of 1e-3, 10,000 of warm-up.
    What the text encoder begins from fits into it."""
    run, text = (load_run(name, registry=REGISTRY) for name in ("flava.paper_run", "flava.paper_text"))

    assert {"pmd": 0.7, "imagenet": 0.15, "text": 0.15} == {
        name: stream.ratio for name, stream in run.data.streams.items()
    }
    assert (8192, 1e-3, (0.9, 0.999), 0.1) == (
        run.train.batch_size,
        run.train.optimizer.learning_rate,
        *(run.train.optimizer.arguments()[field] for field in ("betas", "weight_decay")),
    )
    assert 10000 == run.train.schedule.arguments()["warmup"]
    assert load_spec("flava.paper", registry=REGISTRY).losses == run.model.losses
    assert run.model.text_encoder == text.model.text_encoder
    assert (125000, 2048, 5e-4) == (text.train.steps, text.train.batch_size, text.train.optimizer.learning_rate)


@pytest.mark.parametrize("name", ["flava.emoji", "flava.emoji_groups", "flava.paper_run", "flava.paper_text"])
def test_a_further_observer_joins_those_of_a_run(name: str) -> None:
    """They are written into each preset that has any, so that a file based on it names what is different only."""

    def watchers(*changes: str) -> list[str]:
        spec = load_any(name, registry=REGISTRY, set=changes)
        assert isinstance(spec, RunSpec | FinetuneSpec)
        return list(spec.observers)

    assert ["console", "jsonl"] == watchers()
    assert ["console", "jsonl", "table"] == watchers("observers={table: {type: flava.csv}}")
    assert ["jsonl", "table"] == watchers("observers={console: null, table: {type: flava.csv}}")


@pytest.mark.parametrize("name", LADDER)
def test_ladder(name: str) -> None:
    """The sizes of torchmultimodal's scaled models."""
    depth, fused, width, hidden = LADDER[name]
    spec = load_spec(name, registry=REGISTRY)
    parts = {"image_encoder": depth, "text_encoder": depth, "fusion": fused}

    assert {slot: (layers, width, hidden, 16) for slot, layers in parts.items()} == {
        slot: tuple(getattr(spec, slot).arguments()[field] for field in ("depth", "width", "mlp_width", "heads"))
        for slot in parts
    }


def test_tiny_is_whole() -> None:
    """`flava.tiny` has every slot filled and all six losses."""
    spec = load_spec("flava.tiny", registry=REGISTRY)

    assert [] == [slot for slot in FlavaSpec.model_fields if not getattr(spec, slot)]
    assert {"mim", "mlm", "mmm_image", "mmm_text", "itm", "global_contrastive"} == spec.losses.keys()
