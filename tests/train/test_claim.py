"""A changed spec is shown, and refused unless it is allowed by name."""

from pathlib import Path

import pytest
from runs import tiny_run

import flava_parts as fp
from flava_parts.errors import InputError
from flava_parts.train.claim import changes, check_claim, claim


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The spec of a folder that a tiny run has claimed."""
    claim(tmp_path / "spec.yaml", tiny_run())
    return tmp_path / "spec.yaml"


def test_the_first_run_writes_its_spec_and_the_same_may_come_again(path: Path) -> None:
    written = path.read_text()
    claim(path, tiny_run())

    assert tiny_run() == fp.load_run(path)
    assert written == path.read_text()
    assert [path] == list(path.parent.iterdir())


def test_a_change_is_shown_as_a_difference_and_refused(path: Path) -> None:
    """The first line says what to do, by name; the rest is a unified difference of YAML."""
    before = path.read_text()
    with pytest.raises(InputError) as caught:
        check_claim(path, tiny_run("train.optimizer.eps=1e-6", steps=9))
    first, *difference = str(caught.value).splitlines()

    assert first.startswith(f"{path}: the folder holds a run with another spec; choose another --out")
    assert first.endswith("by --allow train.steps --allow train.optimizer.eps")
    assert [f"--- {path}", "+++ asked for"] == difference[:2]
    assert "-  steps: 4" in difference
    assert "+  steps: 9" in difference
    assert before == path.read_text()


@pytest.mark.parametrize("allow", [["train.steps"], ["train"], ["train.steps", "data"]])
def test_what_is_allowed_by_name_or_by_block_becomes_the_folder_s(path: Path, allow: list[str]) -> None:
    check_claim(path, tiny_run(steps=9), allow=allow)

    assert 4 == fp.load_run(path).train.steps

    claim(path, tiny_run(steps=9))

    assert 9 == fp.load_run(path).train.steps


@pytest.mark.parametrize("allow", [[], ["train.step"], ["train.optimizer"], ["steps"]])
def test_another_name_allows_nothing(path: Path, allow: list[str]) -> None:
    with pytest.raises(InputError, match=r"--allow train\.steps"):
        check_claim(path, tiny_run(steps=9), allow=allow)

    assert 4 == fp.load_run(path).train.steps


def test_changes_are_named_to_the_leaf() -> None:
    """Added and removed values too."""
    before = {"a": {"b": 1, "c": [1, 2]}, "d": None, "gone": 1}
    after = {"a": {"b": 2, "c": [1, 2]}, "d": {"e": 1}, "new": 1}

    assert ["a.b", "d", "gone", "new"] == list(changes(before, after))
