"""Bare parts: a stable surface of names, each of which imports torch and what it is made of, and nothing else."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from flava_parts.encoders.text import TextTransformer
from flava_parts.encoders.vision import VisionTransformer

CONSTRUCTORS = Path(__file__).parent / "bare_parts.txt"
PAGE = Path(__file__).parents[1] / "docs" / "guide" / "reuse.md"
SURFACE = (
    "flava_parts.encoders.vision.VisionTransformer",
    "flava_parts.encoders.text.TextTransformer",
    "flava_parts.fusion.transformer.FusionTransformer",
    "flava_parts.codebooks.dvae.DVAECodebook",
    "flava_parts.codebooks.kmeans.KMeansCodebook",
    "flava_parts.maskers.block.BlockMasker",
    "flava_parts.maskers.random.RandomMasker",
    "flava_parts.maskers.bert_tokens.BertTokenMasker",
    "flava_parts.maskers.whole_words.WholeWordMasker",
    "flava_parts.maskers.mismatch.MismatchMasker",
    "flava_parts.losses.masked_prediction.MaskedPrediction",
    "flava_parts.losses.matching.ImageTextMatching",
    "flava_parts.losses.contrastive.GlobalContrastive",
    "flava_parts.heads.classifier.LinearClassifier",
    "flava_parts.heads.classifier.MLPClassifier",
    "flava_parts.layers.output.EncoderOutput",
    "flava_parts.facts.Grid",
    "flava_parts.facts.ImageTokens",
    "flava_parts.facts.TextTokens",
    "flava_parts.facts.Vocab",
)
"""What other projects may import. Names are added to it, never taken out."""

MODULES = sorted({name.rpartition(".")[0] for name in SURFACE})
BELOW = {"facts", "errors", "layers"}
"""What any family may be made of."""

MEASURE = f"""
import importlib, json, sys
import torch, safetensors.torch
found = {{}}
for module in {MODULES!r}:
    for name in [name for name in sys.modules if name.partition(".")[0] == "flava_parts"]:
        del sys.modules[name]
    before = set(sys.modules)
    importlib.import_module(module)
    found[module] = sorted(set(sys.modules) - before)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, list[str]]:
    """What each module brings into a process that has torch (and safetensors, which codebooks read)."""
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_surface_is_the_documented_one() -> None:
    """The page's table, in its order; every name is there."""
    rows = re.findall(r"^\| `(flava_parts\.[\w.]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert list(SURFACE) == rows
    for name in SURFACE:
        module, _, attribute = name.rpartition(".")
        assert getattr(importlib.import_module(module), attribute).__module__ == module


def keywords(part: type) -> list[str]:
    """``width=768`` for each parameter of a constructor, ``width`` for one without a default."""
    each = inspect.signature(part).parameters.values()
    return [name.name if name.default is name.empty else f"{name.name}={name.default!r}" for name in each]


def test_constructors_keep_their_keywords_and_defaults() -> None:
    """Those of the file, a part a line. Another keyword may be added to it, with a default that changes nothing."""
    kept = dict(line.split(" ", 1) for line in CONSTRUCTORS.read_text(encoding="utf-8").splitlines())

    assert list(SURFACE) == list(kept)
    for name, words in kept.items():
        module, _, attribute = name.rpartition(".")
        now = keywords(getattr(importlib.import_module(module), attribute))
        assert [] == [word for word in words.split() if word not in now], name
        assert [] == [word for word in now if "=" not in word and word not in words.split()], name


@pytest.mark.parametrize("module", MODULES)
def test_a_bare_part_imports_its_own_family_only(module: str, imported: dict[str, list[str]]) -> None:
    """Of this package its family, layers, facts and errors; of others nothing that torch has not loaded."""
    family = module.split(".")[1]
    ours = {name.split(".")[1] for name in imported[module] if name.startswith("flava_parts.")}
    others = {name.partition(".")[0] for name in imported[module]} - {"flava_parts", *sys.stdlib_module_names}

    assert ours <= {family, *BELOW}
    assert set() == others - {"torch"}


def test_that_this_can_fail(imported: dict[str, list[str]]) -> None:
    """Something was measured."""
    assert "flava_parts.encoders.vision" in imported["flava_parts.encoders.vision"]
    assert "flava_parts.layers.attention" in imported["flava_parts.encoders.vision"]


@pytest.mark.parametrize("part", [VisionTransformer, TextTransformer])
def test_the_documented_modules_are_there(part: type[nn.Module]) -> None:
    """The names that adapters are put on."""
    names = {name for name, _ in part(width=8, depth=1, heads=2).named_modules()}
    block = {f"blocks.0.attention.{name}" for name in ("query", "key", "value", "output")}
    block |= {"blocks.0.mlp.up", "blocks.0.mlp.down", "blocks.0.attention_norm", "blocks.0.mlp_norm", "norm"}
    own = "patch_embedding.projection" if part is VisionTransformer else "word_embedding"

    assert names >= {*block, own}
