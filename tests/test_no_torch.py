"""Checking a file needs no torch: it is quick, and works where torch is not."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "numpy", "PIL", "rich", "matplotlib", "tokenizers", "transformers")

AFTER = f"""
import sys
found = sorted(set({HEAVY!r}) & set(sys.modules))
print(",".join(found), file=sys.stderr)
"""


def loaded_by(code: str) -> str:
    """The heavy modules that are loaded after running some code."""
    done = subprocess.run([sys.executable, "-c", code + AFTER], capture_output=True, text=True, check=True)
    return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""


COMMAND = """
import sys
sys.argv = ["flava-parts", {arguments}]
from flava_parts.cli import main
try:
    main()
except SystemExit as end:
    assert end.code in (0, None), end.code
"""


@pytest.mark.parametrize(
    "code",
    [
        "import flava_parts",
        "import flava_parts; flava_parts.load_spec('flava.tiny')",
        "import flava_parts; flava_parts.wire(flava_parts.FlavaSpec())",
        "import flava_parts; flava_parts.default_registry(); flava_parts.hookimpl; flava_parts.SpecError",
        COMMAND.format(arguments="'--help'"),
        COMMAND.format(arguments="'check', 'flava.base', '--json'"),
        COMMAND.format(arguments="'parts'"),
        COMMAND.format(arguments="'parts', 'flava.vit'"),
        COMMAND.format(arguments="'schema'"),
        COMMAND.format(arguments="'explain', 'flava.base', '--full'"),
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    """Neither torch nor anything else that takes long."""
    assert "" == loaded_by(code)


def test_that_this_can_fail() -> None:
    """The same check sees torch where it is."""
    assert "torch" in loaded_by("import flava_parts; flava_parts.compose").split(",")


def test_importing_the_package_imports_little() -> None:
    """Not even pydantic."""
    assert "" == loaded_by("import flava_parts, sys; assert not {'pydantic', 'yaml', 'pluggy'} & set(sys.modules)")


def test_the_function_compose_is_not_hidden_by_its_module() -> None:
    """`flava_parts.compose` is the function, even after its module was imported by name."""
    loaded_by("import flava_parts.compose; from flava_parts import compose; assert callable(compose); compose.__name__")


def test_public_names_exist() -> None:
    """Every name in `__all__` can be had, and no other."""
    import flava_parts

    assert [] == [name for name in flava_parts.__all__ if not hasattr(flava_parts, name)]
    assert set(flava_parts.__all__) <= set(dir(flava_parts))
    with pytest.raises(AttributeError, match="module 'flava_parts' has no attribute 'zebra'"):
        _ = flava_parts.zebra


@pytest.mark.parametrize(("arguments", "limit"), [("'--help'", 260), ("'check', 'flava.base'", 390)])
def test_few_modules_are_imported(arguments: str, limit: int) -> None:
    """What a command takes to start is what it imports; `benchmarks/start_up.py` has the seconds."""
    count = subprocess.run(
        [sys.executable, "-c", COMMAND.format(arguments=arguments) + "print(len(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()[-1]

    assert int(count) <= limit
