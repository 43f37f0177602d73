"""The first-party plugins under `plugins/`: registered whole, torch-free, their presets right, their models trainable.

Quick checks from their sources; each package's own tests are run by `nox -s plugins`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from flava_parts.errors import SpecError
from flava_parts.loading import load_any, load_run
from flava_parts.plugins import load_registry
from flava_parts.spec import RunSpec

FOLDER = Path(__file__).parents[1] / "plugins"
NEEDS = {"timm": "timm", "transformers": "transformers"}
"""Plugins that wrap a library which the package itself does not need."""
NAMES = sorted(folder.name.removeprefix("flava-parts-") for folder in FOLDER.iterdir() if folder.is_dir())


def plugin(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The plugin's module, from its source."""
    monkeypatch.syspath_prepend(FOLDER / f"flava-parts-{name}" / "src")
    return import_module(f"flava_parts_{name}")


def test_all_seven_are_there() -> None:
    """By name."""
    assert ["mae", "pixels", "siglip", "timm", "torchvision", "transformers", "vq"] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_plugin_registers_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is broken, its names lie in its namespace, and the package states what it needs."""
    registry = load_registry(plugins=[plugin(name, monkeypatch)], entry_points=False)
    own = {entry.name for entry in registry.entries.values() if entry.origin.plugin == f"flava_parts_{name}"}
    presets = {preset.name for preset in registry.presets.values() if preset.origin.plugin == f"flava_parts_{name}"}
    project = tomllib.loads((FOLDER / f"flava-parts-{name}" / "pyproject.toml").read_text())["project"]

    assert () == registry.broken
    assert own
    assert {name} == {part.partition(".")[0] for part in own | presets}
    assert f"{name}.emoji" in presets
    assert {name: f"flava_parts_{name}"} == project["entry-points"]["flava_parts"]
    assert "Apache-2.0" == project["license"]


def test_importing_them_needs_no_torch() -> None:
    """All seven in one process, their hooks called."""
    code = f"""
import sys
sys.path[:0] = {[str(FOLDER / f"flava-parts-{name}" / "src") for name in NAMES]!r}
from importlib import import_module
from flava_parts.plugins import load_registry
registry = load_registry(plugins=[import_module("flava_parts_" + name) for name in {NAMES!r}], entry_points=False)
print(registry.broken, dict(registry.contested), sorted({{"torch", "timm", "transformers"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert "() {} []\n" == done.stdout, done.stderr


def test_help_with_all_of_them_installed_imports_only_what_its_verbs_need(tmp_path: Path) -> None:
    """Parts and presets stay where they are: no pydantic, and of the plugins only the command of one."""
    for name in NAMES:
        project = tomllib.loads((FOLDER / f"flava-parts-{name}" / "pyproject.toml").read_text())["project"]
        info = tmp_path / f"flava_parts_{name}-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0.1.0\n")
        lines = [
            line
            for group, points in project["entry-points"].items()
            for line in (f"[{group}]", *(f"{point} = {thing}" for point, thing in points.items()))
        ]
        (info / "entry_points.txt").write_text("\n".join(lines))
    code = f"""
import sys
paths, sys.argv = {[str(tmp_path), *(str(FOLDER / f"flava-parts-{name}" / "src") for name in NAMES)]!r}, ["", "--help"]
from flava_parts.cli import main
sys.path[:0] = paths
before = set(sys.modules)
try:
    main()
except SystemExit:
    print(sorted(name for name in {{*sys.modules}} - before if name.startswith("flava_parts_")))
    print({{"pydantic", "yaml"}} & {{*sys.modules}}, len(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    *shown, ours, others = done.stdout.splitlines()
    heavy, count = others.rsplit(maxsplit=1)

    assert any(line.startswith("  codebook  ") for line in shown), done.stderr
    assert "['flava_parts_vq', 'flava_parts_vq.cli']" == ours
    assert "set()" == heavy
    assert int(count) < 300


@pytest.mark.parametrize("name", NAMES)
def test_the_file_of_its_page_is_right(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the README shows loads, whatever weights it names."""
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    registry = load_registry(plugins=[plugin(name, monkeypatch)], entry_points=False)
    page = (FOLDER / f"flava-parts-{name}" / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```yaml\n((?:.*\n)*?)```$", page, re.MULTILINE)

    if "folder:" in shown:
        with pytest.raises(SpecError, match=r"dinov2-small.config.json: cannot read a configuration"):
            load_any(shown, registry=registry)
    else:
        assert load_any(shown, registry=registry)


@pytest.mark.parametrize("name", NAMES)
def test_the_emoji_preset_composes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is right, and the model that it describes gives a loss with a gradient on the meta device."""
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    import torch

    from flava_parts.compose import compose
    from flava_parts.facts import pair

    registry = load_registry(plugins=[plugin(name, monkeypatch)], entry_points=False)
    spec = load_run(f"{name}.emoji", registry=registry)
    tokens = spec.model.image_encoder.tokens
    model = compose(spec.model, device="meta", vocab=spec.data.tokenizer.vocab())
    with torch.device("meta"):
        pixels = torch.empty(2, 3, *pair(spec.model.image_encoder.image_size))
        ids = torch.zeros(2, 8, dtype=torch.long)
        output = model(
            pixel_values=pixels,
            input_ids=ids,
            bool_masked_pos=torch.zeros(2, tokens.grid.size, dtype=torch.bool),
            passes=["image", "image_masked"],
        )

    assert isinstance(load_any(f"{name}.emoji", registry=registry), RunSpec)
    assert output.loss is not None
    assert output.loss.requires_grad
    for states in (output.image, output.image_masked):
        assert states is not None
        assert (2, tokens.length, tokens.width) == states.last_hidden_state.shape
