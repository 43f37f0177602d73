"""The ladder: imports go down only, read from the code itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
PACKAGE = SOURCE / "flava_parts"
FAMILIES = ("maskers", "encoders", "codebooks", "fusion", "losses")
AROUND = ("inputs", "data", "train", "evaluate", "report", "interop", "heads", "testing")

RUNGS = (
    ("errors", "facts"),
    ("part",),
    ("fields",),
    ("*.specs",),
    ("spec",),
    ("registry", "hooks", "installed", "plugin_file", "plugins", "builtin", "document", "inheritance"),
    ("messages", "schema", "wiring", "finetuning", "writing", "loading"),
    ("model", "scoring", "narrowing", "output"),
    ("compose",),
    ("cost", "shapes"),
    ("cli",),
)
"""From the bottom up; a module imports from its own rung or below, at its top."""

HEAVY = {"torch", "torchvision", "numpy", "PIL", "rich", "matplotlib", "tokenizers", "safetensors"}


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its name below it."""
    found: dict[str, ast.Module] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


MODULES = modules()


def imports(name: str, *, inside: bool = False) -> Iterator[tuple[str, bool]]:
    """What a module imports as (name, whether it is ours); ``inside`` also counts what its functions import.

    Imports for type checkers are not run and do not count.
    """
    package = name.split(".") if (PACKAGE / name.replace(".", "/")).is_dir() else name.split(".")[:-1]
    for node in _statements(MODULES[name], inside):
        if isinstance(node, ast.Import):
            for alias in node.names:
                ours = alias.name.split(".")[0] == "flava_parts"
                yield alias.name.removeprefix("flava_parts").lstrip(".") if ours else alias.name, ours
        elif isinstance(node, ast.ImportFrom):
            yield from _from(node, package)


def _from(node: ast.ImportFrom, package: list[str]) -> Iterator[tuple[str, bool]]:
    module = node.module or ""
    if node.level:
        base = package[: len(package) - node.level + 1]
        target = ".".join([*base, *filter(None, [module])])
    elif module.split(".")[0] == "flava_parts":
        target = module.removeprefix("flava_parts").lstrip(".")
    else:
        yield module, False
        return
    for alias in node.names:
        inner = f"{target}.{alias.name}".lstrip(".")
        yield inner if inner in MODULES else target, True


def _statements(tree: ast.AST, inside: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from (each for other in node.orelse for each in _statements(other, inside))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not inside:
            continue
        else:
            yield node
            yield from _statements(node, inside)


def rung(name: str) -> int | None:
    """How high a module stands; none for those that stand beside the ladder."""
    for height, names in enumerate(RUNGS):
        if name in names or (name.endswith(".specs") and "*.specs" in names) or name.split(".")[0] == "cli" in names:
            return height
    return None


def test_every_framework_module_has_a_rung() -> None:
    """No module at the top of the package is forgotten."""
    beside = {"", "__main__", *FAMILIES, *AROUND, "layers"}

    assert set() == {name for name in MODULES if "." not in name and rung(name) is None} - beside


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_down(name: str) -> None:
    """No module imports, at its top, one that stands higher than itself."""
    height = rung(name)
    higher = [
        other
        for other, ours in imports(name)
        if ours and height is not None and (above := rung(other)) is not None and above > height
    ]

    assert [] == higher


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.split(".")[0] in FAMILIES))
def test_a_torch_file_of_a_family_knows_nothing_of_specs(name: str) -> None:
    """It imports torch, its own family's files, layers, facts and errors: no pydantic, no registry, no YAML."""
    if name.endswith(".specs"):
        return
    family = name.split(".")[0]
    allowed = {"facts", "errors", family, "layers"}
    ours = {other for other, is_ours in imports(name, inside=True) if is_ours}
    others = {other.split(".")[0] for other, is_ours in imports(name, inside=True) if not is_ours}

    assert set() == {other for other in ours if other.split(".")[0] not in allowed or other.endswith(".specs")}
    assert set() == others & {"pydantic", "yaml", "pluggy", "typer"}


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.endswith(".specs")))
def test_specs_import_their_implementation_inside_build_only(name: str) -> None:
    """At its top, a family's face imports nothing heavy and none of its torch files."""
    family = name.split(".")[0]
    top = list(imports(name))
    ours = [other for other, is_ours in top if is_ours and other.split(".")[0] == family]

    assert set() == {other.split(".")[0] for other, is_ours in top if not is_ours} & HEAVY
    assert [] == [other for other in ours if not other.endswith("specs")]


@pytest.mark.parametrize("name", ["", *(name for rung in RUNGS[:7] for name in rung if "*" not in name), "cli"])
def test_the_framework_never_imports_torch(name: str) -> None:
    """Not even inside a function."""
    assert set() == {other.split(".")[0] for other, ours in imports(name, inside=True) if not ours} & HEAVY


def test_nothing_runs_what_a_file_says() -> None:
    """No pickle, no `eval` or `exec`, no `yaml.load`: whatever a file holds stays data.

    The conformance suite pickles parts that it has just built, and reads nothing else.
    """
    called = {
        f"{name}: {ast.unparse(node.func)}"
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"eval", "exec", "__import__", "compile", "yaml.load"}
    }
    imported = {
        f"{name}: {other}"
        for name in MODULES
        for other, _ in imports(name, inside=True)
        if (name, other) != ("testing.bench", "pickle")
    }

    assert set() == called
    assert [] == [line for line in imported if line.endswith((": pickle", ": marshal", ": shelve", ": dill"))]
