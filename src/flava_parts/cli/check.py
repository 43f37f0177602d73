"""``flava-parts check``: is a file right?"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Json, Plugins, Set, registry_with

if TYPE_CHECKING:
    from ..errors import Problem
    from ..registry import Registry


def check(
    sources: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Model, run or fine-tuning files, or presets.")
    ],
    changes: Set = None,
    plugins: Plugins = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Also build it on the meta device and compare shapes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check files and say everything that is wrong with them, and where. Exits with 2 if anything is."""
    registry = registry_with(plugins)
    results = [(source, *_checked(source, changes or [], registry, dry_run)) for source in sources]
    if as_json:
        print(json.dumps([_as_json(*result) for result in results], indent=2))
    else:
        for source, kind, problems in results:
            for problem in problems:
                print(f"warning: {problem}" if problem.level == "warning" else problem, file=sys.stderr)
            if kind is not None:
                print(f"{source}: a {kind}, ok")
    if any(kind is None for _, kind, _ in results):
        raise typer.Exit(2)


def _checked(source: str, changes: list[str], registry: Registry, dry_run: bool) -> tuple[str | None, list[Problem]]:
    """What a source is (none if it is wrong), and its problems."""
    from ..errors import SpecError
    from ..loading import NAMES, load
    from ..spec import FlavaSpec

    try:
        loaded = load(source, registry=registry, set=changes)
    except SpecError as error:
        return None, list(error.problems)
    problems = list(loaded.warnings)
    if dry_run:
        from ..messages import placed
        from ..shapes import disagreements

        spec = loaded.spec
        if isinstance(spec, FlavaSpec):
            found = disagreements(spec)
        elif spec.model is not None:
            vocab = spec.data.tokenizer.vocab() if spec.data.tokenizer is not None else None
            found = disagreements(spec.model, vocab, loc=("model",))
        else:
            found = []  # a fine-tuning whose model is known when it starts
        problems += [placed(problem, loaded.tree) for problem in found]
    wrong = any(problem.level == "error" for problem in problems)
    return None if wrong else NAMES[type(loaded.spec)], problems


def _as_json(source: str, kind: str | None, problems: list[Problem]) -> dict[str, Any]:
    def place(problem: Problem) -> dict[str, Any]:
        mark = problem.source
        return {"file": mark.file, "line": mark.line, "column": mark.column} if mark else {}

    return {
        "source": source,
        "kind": kind,
        "problems": [
            {"level": problem.level, **place(problem), "path": list(problem.loc), "message": problem.message}
            | ({"see": list(problem.see)} if problem.see is not None else {})
            for problem in problems
        ],
    }
