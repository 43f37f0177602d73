"""From files to specs: merging, changes, origins, and the words of every message."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import broken_flava_specs, flava_specs

from flava_parts.encoders.specs import ViTSpec
from flava_parts.errors import SpecError
from flava_parts.loading import load, load_any, load_run, load_spec
from flava_parts.plugins import load_registry
from flava_parts.spec import FlavaSpec, RunSpec
from flava_parts.writing import to_yaml

REGISTRY = load_registry(entry_points=False)
Write = Callable[..., Path]

RUN = """
model: {base: flava.tiny}
data:
  streams:
    pairs: {source: {type: flava.emoji}}
train: {steps: 3}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a file into the folder that tests run in, so that its name is its path."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> Path:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text, encoding="utf-8")
        return Path(name)

    return write


def problems(source: Any, loader: Callable[..., Any] = load_any, **arguments: Any) -> list[str]:
    """What is wrong with a source, a line each."""
    with pytest.raises(SpecError) as caught:
        loader(source, registry=REGISTRY, **arguments)
    return [str(problem) for problem in caught.value.problems]


# ------------------------------------------------------------------------------------------------------ sources


def test_sources(write: Write) -> None:
    """A preset, a path, text of several lines and plain data say the same."""
    write("a.yaml", "base: flava.tiny\n")
    expected = load_spec("flava.tiny", registry=REGISTRY)

    for source in ("a.yaml", Path("a.yaml"), "base: flava.tiny\n", {"base": "flava.tiny"}):
        assert expected == load_spec(source, registry=REGISTRY)


def test_a_file_without_suffix(write: Write) -> None:
    """A file needs no suffix; a preset of that name comes first."""
    write("model", "base: flava.tiny\n")

    assert load_spec("model", registry=REGISTRY) == load_spec("flava.tiny", registry=REGISTRY)


def test_a_model_key_makes_a_run() -> None:
    """A file with a `model` is a run, any other a model."""
    assert isinstance(load_any(RUN, registry=REGISTRY), RunSpec)
    assert isinstance(load_any("flava.tiny", registry=REGISTRY), FlavaSpec)
    assert load_run(RUN, registry=REGISTRY).model == load_spec("flava.tiny", registry=REGISTRY)
    assert ["<text>:2:1: model: this is a run, where a model is asked for"] == problems(RUN, load_spec)
    assert ["flava.tiny:2:1: model: is missing: this is a model, where a run is asked for"] == problems(
        "flava.tiny", load_run
    )


def test_missing_sources(write: Write) -> None:
    """What is not there is said to be not there."""
    write("folder/a.yaml", "")

    assert ["there is no file and no preset named 'flava.bsae'; did you mean 'flava.base'?"] == problems("flava.bsae")
    assert ["there is no file and no preset named 'zebra'"] == problems("zebra")
    assert ["cannot read 'gone.yaml': No such file or directory"] == problems("gone.yaml")
    assert ["cannot read 'folder/': Is a directory"] == problems("folder/")
    assert ["cannot read 'a\\x00.yaml': no file has such a name"] == problems("a\0.yaml")


# ------------------------------------------------------------------------------------------------------ merging


def test_blocks_merge_and_everything_else_replaces(write: Write) -> None:
    """The first rule: by key; lists, numbers and nulls replace."""
    write(
        "a.yaml",
        "image_encoder: {image_size: [32, 64], patch_size: 8, width: 32, heads: 4}\nlosses: {mim: "
        "{weight: 2}, mlm: {}}\n",
    )
    write("b.yaml", "base: a.yaml\nimage_encoder: {image_size: [64, 64]}\nlosses: {mim: null}\n")
    spec = load_spec("b.yaml", registry=REGISTRY, set=["codebook=null", "image_masker=null"])

    assert ViTSpec(image_size=(64, 64), patch_size=8, width=32, heads=4) == spec.image_encoder
    assert ["mlm"] == list(spec.losses)


def test_another_type_replaces_the_block() -> None:
    """The second rule: what another type said is gone; the same type, stated or default, merges."""
    spec = load_spec("base: flava.base\ncodebook: {type: flava.kmeans, vocab_size: 8}\n", registry=REGISTRY)

    assert {"type": "flava.kmeans", "vocab_size": 8} == spec.codebook.model_dump(exclude_defaults=True) | {  # type: ignore[union-attr]
        "type": spec.codebook.type  # type: ignore[union-attr]
    }
    same = load_spec("base: flava.tiny\ncodebook: {type: flava.kmeans, vocab_size: 8}\n", registry=REGISTRY)

    assert 16 == same.codebook.image_size  # type: ignore[union-attr]


def test_the_default_type_counts_as_inherited(write: Write) -> None:
    """A block that states no type has its slot's: changing it replaces, stating it merges."""
    write("a.yaml", "codebook: {width: 8}\n")
    changed = load_spec("base: ./a.yaml\ncodebook: {type: flava.kmeans}\n", registry=REGISTRY)
    stated = load_spec("base: ./a.yaml\ncodebook: {type: flava.dvae}\n", registry=REGISTRY)

    assert "flava.kmeans" == changed.codebook.type  # type: ignore[union-attr]
    assert 8 == stated.codebook.width  # type: ignore[union-attr]
    write(
        "run.yaml",
        "model: {codebook: {width: 8}}\ndata: {streams: {a: {source: {type: flava.emoji}}}}\ntrain: {steps: 1}\n",
    )
    run = load_run("base: ./run.yaml\nmodel: {codebook: {type: flava.kmeans}}\n", registry=REGISTRY)

    assert "flava.kmeans" == run.model.codebook.type  # type: ignore[union-attr]


def test_blocks_without_type() -> None:
    """A block takes its slot's default type; an entry takes the one of its name."""
    spec = load_spec("image_encoder: {width: 384}\nlosses:\n  mim: {weight: 2}\n", registry=REGISTRY)

    assert ViTSpec(width=384) == spec.image_encoder
    assert ("flava.mim", 2.0) == (spec.losses["mim"].type, spec.losses["mim"].weight)


def test_base_in_a_part_block(write: Write) -> None:
    """A file may hold one block; paths start from the file that names them."""
    write("parts/vit.yaml", "base: more/small.yaml\ndepth: 3\n")
    write("parts/more/small.yaml", "{width: 32, heads: 4}\n")
    write("m.yaml", "base: flava.base\nimage_encoder: {base: parts/vit.yaml, heads: 8}\n")
    loaded = load("m.yaml", registry=REGISTRY)

    assert (32, 3, 8) == tuple(loaded.spec.image_encoder.arguments()[name] for name in ("width", "depth", "heads"))  # type: ignore[union-attr]
    assert "parts/more/small.yaml:1:9" == loaded.origin(("image_encoder", "width"))
    assert "parts/vit.yaml:2:8" == loaded.origin(("image_encoder", "depth"))
    assert "m.yaml:2:46" == loaded.origin(("image_encoder", "heads"))
    assert "flava.base:19:15" == loaded.origin(("image_encoder", "mask_token"))


def test_wrong_bases(write: Write) -> None:
    """A base that leads nowhere is located where it is written."""
    write("a.yaml", "base: b.yaml\n")
    write("b.yaml", "fusion:\n  base: ./c.yaml\n")
    write("c.yaml", "base: a.yaml\n")
    write("list.yaml", "- 1\n")

    assert ["c.yaml:1:7: fusion: this base leads back to itself: a.yaml -> b.yaml -> c.yaml -> a.yaml"] == problems(
        "a.yaml"
    )
    assert ["<text>:1:7: cannot read 'gone.yaml': No such file or directory"] == problems("base: gone.yaml\n")
    assert ["<text>:1:7: there is no preset named 'flava.bsae'; did you mean 'flava.base'?"] == problems(
        "base: flava.bsae\n"
    )
    assert ["<text>:1:7: base: should be the name of a preset or the path of a file"] == problems("base: 3\n")
    assert ["list.yaml:1:1: a file should hold a block of fields"] == problems("base: list.yaml\n")


def test_too_many_files(write: Write) -> None:
    """Files that name each other often cannot multiply without end."""
    write("l0.yaml", "{}")
    for level in range(1, 10):
        write(f"l{level}.yaml", "".join(f"b{n}: {{base: ./l{level - 1}.yaml}}\n" for n in range(5)))

    assert ["more than 100 files are merged here"] == [
        line.partition(": ")[2].rpartition(": ")[2] for line in problems("l9.yaml")
    ]


@given(flava_specs())
def test_merging_with_nothing_changes_nothing(spec: FlavaSpec) -> None:
    """Empty blocks are neutral."""
    assert spec == load_spec(to_yaml(spec), registry=REGISTRY, set=["image_encoder={}", "losses={}"])


# ------------------------------------------------------------------------------------------------------ changes


def test_set_comes_last() -> None:
    """Values by the same scalar rules, lists and blocks too; a later change wins."""
    spec = load_spec(
        "flava.tiny",
        registry=REGISTRY,
        set=[
            "image_encoder.depth=6",
            "image_encoder.depth=3",
            "text_encoder={depth: 4}",
            "losses.itm=",
            "fusion.norm_eps=1e-5",
        ],
    )

    assert (3, 4, 1e-5) == (spec.image_encoder.depth, spec.text_encoder.depth, spec.fusion.norm_eps)  # type: ignore[union-attr]
    assert "itm" not in spec.losses


def test_set_is_located() -> None:
    """What is wrong with a change is said of it."""
    assert ["--set #2: image_encoder.depth: should be a whole number, not 'six'"] == problems(
        "flava.tiny", set=["image_encoder.width=32", "image_encoder.depth=six"]
    )
    assert ["--set #1: should be a.b=VALUE, not 'image_encoder'"] == problems("flava.tiny", set=["image_encoder"])
    assert ["--set #1: should be a.b=VALUE, not 'a..b=1'"] == problems("flava.tiny", set=["a..b=1"])
    assert [
        "--set #1: image_encoder.depth: is not YAML: while parsing a flow sequence did not find expected ',' or ']'"
    ] == problems("flava.tiny", set=["image_encoder.depth=[1"])
    assert ["--set #1: image_encoder.widht: unknown field; did you mean 'width'?"] == problems(
        "flava.tiny", set=["image_encoder.widht=3"]
    )


# ------------------------------------------------------------------------------------------------------ messages


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image_encoder: {widht: 3}", "m.yaml:1:17: image_encoder.widht: unknown field; did you mean 'width'?"),
        ("image_encoder: {zebra: 3}", "m.yaml:1:17: image_encoder.zebra: unknown field"),
        ("codebook: {patch_size: 3}", "m.yaml:1:12: codebook.patch_size: unknown field; it belongs in image_encoder"),
        ("patch_size: 3", "m.yaml:1:1: patch_size: unknown field; it belongs in image_encoder"),
        ("width: 3", "m.yaml:1:1: width: unknown field"),
        ("image_encodr: {}", "m.yaml:1:1: image_encodr: unknown field; did you mean 'image_encoder'?"),
        (
            "train: {steps: 3}",
            "m.yaml:1:1: train: unknown field; it belongs in a run, a file whose model is under 'model'",
        ),
        (
            "image_encoder: {type: flava.vti}",
            "m.yaml:1:17: image_encoder: no image_encoder named 'flava.vti'; did you mean 'flava.vit'?",
        ),
        (
            "image_encoder: {type: zebra}",
            "m.yaml:1:17: image_encoder: no image_encoder named 'zebra'; there is flava.vit",
        ),
        (
            "image_encoder: {type: flava.dvae}",
            "m.yaml:1:17: image_encoder: no image_encoder named 'flava.dvae'; that is a codebook",
        ),
        (
            "image_encoder: {type: 3}",
            "m.yaml:1:17: image_encoder: the type of an image_encoder should be a name, not 3",
        ),
        ("image_encoder: null", "m.yaml:1:16: image_encoder: an image_encoder should be a block with a type, not null"),
        (
            "codebook: flava.kmeans",
            "m.yaml:1:11: codebook: a codebook should be a block with a type, not 'flava.kmeans'; "
            "write {type: flava.kmeans}",
        ),
        ("codebook: [1]", "m.yaml:1:11: codebook: a codebook should be a block with a type, not [1]"),
        (
            "losses: {mimm: {weight: 2}}",
            "m.yaml:1:10: losses.mimm: a loss needs a type: flava.global_contrastive, flava.itm, flava.mim, flava.mlm, "
            "flava.mmm_image, flava.mmm_text, or did you mean 'mim'?",
        ),
        (
            "losses: {zebra: {}}",
            "m.yaml:1:10: losses.zebra: a loss needs a type: flava.global_contrastive, flava.itm, "
            "flava.mim, flava.mlm, "
            "flava.mmm_image, flava.mmm_text",
        ),
        ("losses: [mim]", "m.yaml:1:9: losses: should be a block of names, not ['mim']"),
        (
            "losses: {My Loss: {type: flava.mim}}",
            "m.yaml:1:10: losses.My Loss: a name should be lower-case letters, digits and _, beginning with a letter",
        ),
        ("image_encoder: {depth: 1.5}", "m.yaml:1:24: image_encoder.depth: should be a whole number, not 1.5"),
        ("image_encoder: {depth: true}", "m.yaml:1:24: image_encoder.depth: should be a whole number, not true"),
        ("image_encoder: {depth: 0}", "m.yaml:1:24: image_encoder.depth: should be greater than 0, not 0"),
        ("image_encoder: {dropout: 1}", "m.yaml:1:26: image_encoder.dropout: should be less than 1, not 1"),
        ("image_encoder: {dropout: -1}", "m.yaml:1:26: image_encoder.dropout: should be at least 0, not -1"),
        ("pair_masker: {probability: 2}", "m.yaml:1:28: pair_masker.probability: should be at most 1, not 2"),
        ("image_encoder: {dropout: a}", "m.yaml:1:26: image_encoder.dropout: should be a number, not 'a'"),
        ("image_encoder: {norm_eps: .inf}", "m.yaml:1:27: image_encoder.norm_eps: should be a finite number, not inf"),
        (
            "image_encoder: {qkv_bias: no}",
            "m.yaml:1:27: image_encoder.qkv_bias: should be true or false, not 'no'; write false",
        ),
        ("image_encoder: {qkv_bias: 0}", "m.yaml:1:27: image_encoder.qkv_bias: should be true or false, not 0"),
        (
            "image_encoder: {activation: glu}",
            "m.yaml:1:29: image_encoder.activation: should be gelu or relu or selu or gelu_new, not "
            "'glu'; did you mean 'gelu'?",
        ),
        (
            "image_encoder: {activation: tanh}",
            "m.yaml:1:29: image_encoder.activation: should be gelu or relu or selu or gelu_new, not 'tanh'",
        ),
        (
            "image_encoder: {image_size: [1, 2, 3]}",
            "m.yaml:1:29: image_encoder.image_size: should be a positive whole number of pixels, or "
            "[height, width], not [1, 2, 3]",
        ),
        ("codebook: {weights: 3}", "m.yaml:1:21: codebook.weights: should be text, not 3; put it in quotes"),
        ("image_encoder: {heads: 7}", "m.yaml:1:24: image_encoder.heads: 7 heads do not divide a width of 768"),
        ("image_encoder: {width: 770}", "m.yaml:1:1: image_encoder.heads: 12 heads do not divide a width of 770"),
        (
            "codebook: {image_size: 120}",
            "m.yaml:1:24: codebook.image_size: the codebook gives 15x15 codes but the image encoder cuts 14x14 patches "
            "(see image_encoder.patch_size)",
        ),
    ],
)
def test_messages(write: Write, text: str, expected: str) -> None:
    """Where, what, and what to try; no hint where nothing is near."""
    write("m.yaml", text)

    assert [expected] == problems("m.yaml")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("data.streams.pairs=null", "<text>:5:5: data.streams: a run needs at least one stream"),
        (
            "data.streams.pairs.source=null",
            "--set #1: data.streams.pairs.source: a source should be a block with a type, not null",
        ),
        (
            "data.streams={a: {}}",
            "--set #1: data.streams.a.source: is missing and has no default (Where the samples come from)",
        ),
        (
            "data.streams={a: {source: {split: train}}}",
            f"--set #1: data.streams.a.source: a source needs a type: {', '.join(sorted(REGISTRY.choices('source')))}",
        ),
        ("data.views.std=[1, 2]", "--set #1: data.views.std: the list is too short: there is no entry 3"),
        ("data.views.std=[1, 2, 3, 4]", "--set #1: data.views.std: should have 3 entries, not 4"),
        ("data.views.std=1", "--set #1: data.views.std: should be a list, not 1"),
        ("data.views=[]", "--set #1: data.views: should be a block of fields, not []"),
        ("train.optimizer.betas=[0.9, 1]", "--set #1: train.optimizer.betas.1: should be less than 1, not 1"),
        ("train=null", "--set #1: train: should be a block of fields, not null"),
        ("train.steps=null", "--set #1: train.steps: should be a whole number, not null"),
        ("train.learning_rate=1", "--set #1: train.learning_rate: unknown field; it belongs in train.optimizer"),
        ("image_encoder={}", "--set #1: image_encoder: unknown field; it belongs in model"),
        (
            "data.streams.pairs.losses=[mimm]",
            "--set #1: data.streams.pairs.losses: the model has no loss named 'mimm' with a weight; it "
            "has mim, mlm, mmm_image, mmm_text, itm, global_contrastive",
        ),
        (
            "data.tokenizer.vocabulary=gone.txt",
            "<text>:2:1: gone.txt: no vocabulary could be read (No such file or directory); give a vocab.txt",
        ),
    ],
)
def test_messages_of_runs(change: str, expected: str) -> None:
    """The same for what surrounds the model."""
    assert expected in problems(RUN, set=[change])


def test_all_problems_at_once(write: Write) -> None:
    """Everything that is wrong is said in one go, in the order of the lines, and of each file."""
    write("base.yaml", "base: flava.base\nfusion: {depth: -1}\n")
    write("m.yaml", "base: ./base.yaml\nzebra: 1\nimage_encoder:\n  depth: a\n  type: flava.vit\ncodebook: 3\n")

    assert [
        "base.yaml:2:17: fusion.depth: should be greater than 0, not -1",
        "m.yaml:2:1: zebra: unknown field",
        "m.yaml:4:10: image_encoder.depth: should be a whole number, not 'a'",
        "m.yaml:6:11: codebook: a codebook should be a block with a type, not 3",
    ] == problems("m.yaml")


def test_disagreements_name_both_places(write: Write) -> None:
    """Each place is in the file that it was written in."""
    write("base.yaml", "base: flava.base\nimage_masker: null\ncodebook:\n  image_size: 112\n")
    write("m1.yaml", "base: ./base.yaml\nimage_encoder:\n  patch_size: 32\n")

    assert [
        "base.yaml:4:15: codebook.image_size: the codebook gives 14x14 codes but the image encoder cuts 7x7 patches "
        "(see m1.yaml:3:15 image_encoder.patch_size)"
    ] == problems("m1.yaml")


def test_warnings_are_no_errors() -> None:
    """A part that nobody reads is odd, not wrong."""
    loaded = load("base: flava.tiny\nlosses: {itm: null}\n", registry=REGISTRY)

    assert [
        "flava.base:74:1: pair_masker: no loss with a weight reads what it gives; pair_masker: null leaves it out"
    ] == [str(problem).replace(str(problem.source), "flava.base:74:1") for problem in loaded.warnings]


def test_errors_travel() -> None:
    """A SpecError survives being pickled, as it has to between processes."""
    with pytest.raises(SpecError) as caught:
        load_spec({"zebra": 1}, registry=REGISTRY)
    again = pickle.loads(pickle.dumps(caught.value))

    assert (str(caught.value), caught.value.problems) == (str(again), again.problems)


# ------------------------------------------------------------------------------------------------------ identities


@given(flava_specs())
def test_round_trip(spec: FlavaSpec) -> None:
    """Spec to YAML to spec is the identity."""
    assert spec == load_spec(to_yaml(spec), registry=REGISTRY)


def test_round_trip_of_a_run() -> None:
    """Of runs as well, and of its text."""
    run = load_run(RUN, registry=REGISTRY)

    assert run == load_run(to_yaml(run), registry=REGISTRY)
    assert to_yaml(run) == to_yaml(load_run(to_yaml(run), registry=REGISTRY))


@given(st.text(max_size=20))
def test_any_text_survives(text: str) -> None:
    """Strings come back as they were, whatever is in them."""
    spec = load_spec({"base": "flava.base", "codebook": {"weights": text}}, registry=REGISTRY)

    assert spec == load_spec(to_yaml(spec), registry=REGISTRY)


def test_types_come_first() -> None:
    """Each block says first what it is."""
    lines = to_yaml(load_spec("flava.tiny", registry=REGISTRY)).splitlines()

    assert ["  type: flava.vit", "  type: flava.text"] == [lines[1], lines[lines.index("text_encoder:") + 1]]


def test_notes() -> None:
    """A note stands behind its value, as a comment that reads as nothing."""
    loaded = load("image_encoder:\n  depth: 6\n", registry=REGISTRY)
    text = to_yaml(loaded.spec, loaded.origin)

    assert "  depth: 6" + " " * 26 + "# <text>:2:10" in text.splitlines()
    assert "  width: 768" + " " * 24 + "# default" in text.splitlines()
    assert loaded.spec == load_spec(text, registry=REGISTRY)


@given(broken_flava_specs())
def test_every_disagreement_is_located(broken: tuple[FlavaSpec, tuple[str, ...]]) -> None:
    """A model with one agreement spoilt is refused at that place."""
    spec, loc = broken
    with pytest.raises(SpecError) as caught:
        load_spec(to_yaml(spec), registry=REGISTRY)

    assert loc in [problem.loc for problem in caught.value.problems if problem.level == "error"]
