"""The scaffold: a new package of every kind is whole, and its own tests pass."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from flava_parts.cli.plugin import SMALL
from flava_parts.loading import load_any
from flava_parts.plugins import load_registry
from flava_parts.testing.check import BENCHES


def test_there_is_a_scaffold_for_every_kind() -> None:
    """And for no other."""
    assert set(BENCHES) == set(SMALL)


@pytest.mark.parametrize("kind", list(SMALL))
def test_a_new_package_passes_its_own_tests(
    kind: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its plugin is registered without a complaint, its example loads, and each test of its test file passes."""
    name = f"new_{kind}"
    code, printed, _ = run("plugin", "new", name, "--kind", kind)
    folder = tmp_path / f"flava-parts-{name.replace('_', '-')}"
    monkeypatch.syspath_prepend(folder / "src")
    plugin = importlib.import_module(f"flava_parts_{name}")
    registry = load_registry(plugins=[plugin], entry_points=False)

    assert (0, f"{folder.name}: written; install it with: pip install -e {folder.name}\n") == (code, printed)
    assert () == registry.broken
    assert kind == registry.entries[f"{name}.{kind}"].kind
    assert load_any(folder / "example.yaml", registry=registry)
    assert 6 < len(passed(folder / "tests" / "test_conformance.py"))


def passed(file: Path) -> list[str]:
    """Run the tests of a generated file; the names of the laws that were kept."""
    found = spec_from_file_location(file.parents[1].name.replace("-", "_"), file)
    assert found is not None
    assert found.loader is not None
    module: Any = module_from_spec(found)
    found.loader.exec_module(module)
    (mark,) = module.test_conformance.pytestmark
    laws: list[str] = []
    for case in mark.args[1]:
        try:
            module.test_conformance(*case.values)
            laws.append(case.values[1])
        except pytest.skip.Exception:
            continue
    return laws


def test_an_installed_package_is_found_by_its_entry_point(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built and installed by pip, into a folder of its own; then `flava-parts plugin check` knows it by any name."""
    pytest.importorskip("hatchling")
    run("plugin", "new", "acme", "--kind", "image_masker")
    site = tmp_path / "site"
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site))
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "./flava-parts-acme"], check=True, cwd=tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *filter(None, sys.path)])}
    command = [sys.executable, "-m", "flava_parts", "plugin", "check", "flava-parts-acme", "--set", "total=6", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    (report,) = json.loads(done.stdout)

    assert 0 == done.returncode, done.stderr
    assert ("acme.image_masker", True) == (report["part"], report["ok"])
    assert {"masks", "generator", "constructor"} <= {check["name"] for check in report["checks"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("Acme", "--kind", "loss"), "'Acme' cannot be a namespace: use lower case letters, digits and _"),
        (("flava", "--kind", "loss"), "'flava' cannot be a namespace"),
        (("../up", "--kind", "loss"), "'../up' cannot be a namespace"),
        (("acme", "--kind", "teapot"), "there is no kind 'teapot'; the kinds are image_encoder, text_encoder, "),
        (("acme", "--kind", "loss", "--folder", "taken"), "taken: is there already, and is not overwritten"),
    ],
)
def test_what_cannot_be_begun(run: Run, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """One line each, exit code 2, nothing written."""
    (tmp_path / "taken").mkdir()
    code, printed, error = run("plugin", "new", *arguments)

    assert (2, "") == (code, printed)
    assert error.startswith(said)
    assert ["taken"] == [path.name for path in tmp_path.iterdir()]


def test_check_says_what_is_broken_and_how_to_mend_it(run: Run, tmp_path: Path) -> None:
    """In words and as JSON, with exit code 1; a law may be picked, and fields changed."""
    run("plugin", "new", "acme", "--kind", "image_masker")
    part = tmp_path / "flava-parts-acme" / "src" / "flava_parts_acme" / "image_masker.py"
    part.write_text(part.read_text().replace("generator=generator, ", ""))
    sys.path.insert(0, str(part.parents[1]))
    try:
        plugin = ("-p", "flava_parts_acme", "--set", "total=6")
        code, printed, _ = run("plugin", "check", "acme.image_masker", *plugin)
        picked, _, _ = run("plugin", "check", "flava_parts_acme", *plugin, "--law", "masks")
        wrong, _, error = run("plugin", "check", "acme.image_masker", "-p", "flava_parts_acme", "--set", "total=none")
    finally:
        sys.path.remove(str(part.parents[1]))
        for module in [module for module in sys.modules if module.startswith("flava_parts_acme")]:
            del sys.modules[module]

    assert 1 == code
    assert "failed          generator: it draws from torch's global generator\n" in printed
    assert "mend it: draw from the generator alone" in printed
    assert 0 == picked
    assert (2, "--set #1: total: should be a whole number, not 'none'\n") == (wrong, error)


def test_a_part_that_is_not_there(run: Run) -> None:
    """A hint, as everywhere."""
    code, _, error = run("plugin", "check", "flava.blok")

    assert (2, "there is no part and no plugin named 'flava.blok'; did you mean 'flava.block'?\n") == (code, error)
