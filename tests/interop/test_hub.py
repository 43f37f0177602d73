"""Models of the Hugging Face hub, read from its cache: no test reaches for the network."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import flava_parts as fp
from flava_parts.errors import InputError

from .test_load import same


@pytest.fixture
def cache(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds acme/flava, of a machine that is offline."""
    repository = tmp_path / "models--acme--flava"
    shutil.copytree(saved / "FlavaForPreTraining", repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("cache")
def test_what_was_fetched_once_needs_no_network(saved: Path) -> None:
    """`HF_HUB_OFFLINE` is honoured, and the cache is enough."""
    same(fp.load_pretrained(saved / "FlavaForPreTraining").state_dict(), fp.load_pretrained("acme/flava").state_dict())
    assert fp.load_part("acme/flava", "text_encoder").width == 8


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(("revision", "at"), [(None, ""), ("v2", " at revision v2")])
def test_what_was_not_fetched_is_one_line(revision: str | None, at: str) -> None:
    with pytest.raises(InputError) as error:
        fp.load_pretrained("acme/other", revision=revision)

    assert (
        f"acme/other: is no folder here and cannot be fetched from the hub{at} (LocalEntryNotFoundError); check the "
        "name and the connection, unset HF_HUB_OFFLINE, or give the folder of a copy"
    ) == str(error.value)


def test_only_what_is_needed_is_fetched(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The revision that was asked for; weights, configs and vocabularies, but no pickles and no optimiser."""
    asked: dict[str, Any] = {}

    def snapshot_download(repo: str, **options: Any) -> str:
        asked.update(options, repo=repo)
        return str(saved / "FlavaModel")

    library = ModuleType("huggingface_hub")
    library.snapshot_download = snapshot_download  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)
    fp.load_pretrained("acme/flava", revision="refs/pr/1")

    assert ("acme/flava", "refs/pr/1") == (asked["repo"], asked["revision"])
    assert ["*.safetensors", "*.json", "*.txt", "*.yaml"] == asked["allow_patterns"]
    assert "optimizer.safetensors" in asked["ignore_patterns"]


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError) as error:
        fp.load_pretrained("acme/flava")

    assert (
        "acme/flava: is no folder here, and fetching it from the hub needs a package: pip install 'flava-parts[hub]'"
        == str(error.value)
    )
