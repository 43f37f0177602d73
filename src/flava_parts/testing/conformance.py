"""The conformance suite in pytest: one line in a plugin's test file."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from ..part import PartSpec
from ..spec import FlavaSpec
from .check import check_part, laws_of


def conformance(
    *specs: PartSpec,
    without: Collection[str] = (),
    constructor: Callable[..., Any] | None = None,
    model: FlavaSpec | None = None,
) -> Callable[..., None]:
    """A test function with one test for each law of each part.

    ``test_my_parts = conformance(MySpec(width=8))`` is all that a test file needs. Laws that say nothing about a part
    are skipped with the reason. ``without`` leaves laws out; the rest is as for `check_part`.
    """
    import pytest

    cases = [
        pytest.param(spec, law.name, id=f"{spec.type_name()}-{law.name}")
        for spec in specs
        for law in laws_of(spec.kind)
        if law.name not in without
    ]

    @pytest.mark.parametrize(("spec", "law"), cases)
    def test(spec: PartSpec, law: str) -> None:
        (check,) = check_part(spec, only=[law], constructor=constructor, model=model).checks
        if check.outcome == "not applicable":
            pytest.skip(check.why)
        assert check.outcome == "passed", f"{check.why}\nmend it: {check.mend}"

    return test
