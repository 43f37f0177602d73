"""Patterns of files: braces as the shell has them, and globs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flava_parts.data.sources.patterns import expanded, files_of
from flava_parts.data.sources.strings import Strings
from flava_parts.errors import InputError


@pytest.mark.parametrize(
    "pattern",
    ["a", "a{0..3}b", "a{08..11}", "{x,y}/{1..2}.tar", "x{,y}", "{000..002}-{a,b,c}", "cc3m/{00000..00012}.tar"],
)
def test_braces_are_those_of_bash(pattern: str) -> None:
    done = subprocess.run(["bash", "-c", f"echo {pattern}"], capture_output=True, text=True, check=True)

    assert done.stdout.split() == list(expanded(pattern))


def test_globs_are_in_alphabetical_order(tmp_path: Path) -> None:
    """Behind braces; names that are written out need not exist here."""
    for name in ("b1.tar", "a2.tar", "a1.tar", "deep/er/c.tar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    assert [f"{tmp_path}/{name}" for name in ("b1.tar", "a1.tar", "a2.tar")] == files_of(f"{tmp_path}/{{b,a}}*.tar")
    assert [f"{tmp_path}/deep/er/c.tar"] == files_of(f"{tmp_path}/deep/**/*.tar")
    assert ["none1", "none2"] == files_of("none{1..2}")


@pytest.mark.parametrize("pattern", ["{0..9999999}", "{000..999}{000..999}{0..9}"])
def test_too_many_files_are_a_slip_of_the_pen(pattern: str) -> None:
    with pytest.raises(InputError, match="names more than 1,000,000 files"):
        files_of(pattern)


@pytest.mark.parametrize("pattern", ["x{a,{b,c}}.tar", "{{a,b},c}", "{a{0..3},b}"])
def test_braces_within_braces_are_refused(pattern: str) -> None:
    """Rather than taken for files that have braces in their names; one brace alone is such a name."""
    with pytest.raises(InputError, match=r"has braces within braces; write them as one, such as \{a,b,c\}") as caught:
        files_of(pattern)

    assert str(caught.value).startswith(f"{pattern}: ")
    assert ["{xa", "{xb"] == files_of("{x{a,b}")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_packed_strings_come_back(strings: list[str]) -> None:
    """Also names of files that are no UTF-8."""
    packed = Strings.of([*strings, "caf\udce9"])

    assert [*strings, "caf\udce9"] == list(packed)
    assert len(strings) + 1 == len(packed)
