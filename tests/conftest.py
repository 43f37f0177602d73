"""Hypothesis profiles, the command line in this process, and distributions that are installed for one test."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib import invalidate_caches
from pathlib import Path

import pytest
from hypothesis import settings

from flava_parts.cli import main

settings.register_profile("dev", deadline=None, max_examples=30)
settings.register_profile("ci", deadline=None, max_examples=200)
settings.register_profile("faults", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

FakeDistribution = Callable[..., None]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run(*arguments)` is the exit code, what went to stdout, and what to stderr; in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["flava-parts", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has one checkpoint: the tiny emoji model as it starts."""
    from runs import write_untrained  # torch takes a while, and not every test needs it

    return write_untrained(tmp_path_factory.mktemp("models") / "untrained")


@pytest.fixture
def fake_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDistribution]:
    """`fake_distribution(name, version, entry_point, source)` installs a distribution whose module is `source`.

    Further arguments name verbs, and their functions in the module. It writes the module and a `.dist-info` folder into
    a folder on `sys.path`: real entry points, without pip.
    """
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    modules: list[str] = []

    def install(name: str, version: str, entry_point: str, source: str, **verbs: str) -> None:
        module = f"fake_{name.replace('-', '_')}"
        (folder / f"{module}.py").write_text(source, encoding="utf-8")
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
        points = [f"[flava_parts]\n{entry_point} = {module}\n", "[flava_parts.verbs]"]
        points += [f"{verb} = {module}:{function}" for verb, function in verbs.items()]
        (info / "entry_points.txt").write_text("\n".join(points), encoding="utf-8")
        modules.append(module)
        invalidate_caches()

    yield install
    for module in modules:
        sys.modules.pop(module, None)
