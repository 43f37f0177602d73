"""Writes docs/api: a page for each kind of part, from the docstrings of its abstract spec and of its built-in parts.

python docs/generate_api.py
"""

from __future__ import annotations

import inspect
from pathlib import Path

from flava_parts.cli.parts import _described as described
from flava_parts.messages import show
from flava_parts.part import PartSpec
from flava_parts.plugins import load_registry
from flava_parts.registry import Registry

API = Path(__file__).parent / "api"


def pages() -> dict[str, str]:
    """The text of each page, by its file name."""
    registry = load_registry(entry_points=False)
    found = {f"{kind}.md": page(kind, base, registry) for kind, base in registry.kinds.items()}
    rows = [f"| [`{kind}`]({kind}.md) | {first_line(base)} |" for kind, base in registry.kinds.items()]
    head = ["# The kinds of parts", "", "Written by `docs/generate_api.py` from the docstrings.", ""]
    head += ["| kind | what it is |", "| --- | --- |"]
    return {"index.md": "\n".join([*head, *rows]) + "\n"} | found


def page(kind: str, base: type[PartSpec], registry: Registry) -> str:
    """One kind: what its parts state, what `build` is given, and the built-in parts with their fields."""
    lines = [f"# `{kind}`", "", f"`{base.__module__}.{base.__name__}`", "", inspect.cleandoc(base.__doc__ or ""), ""]
    lines += ["## States and builds", ""]
    for name, member in sorted(vars(base).items()):
        function = member.fget if isinstance(member, property) else member
        if name.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
            continue
        shown = name if isinstance(member, property) else f"{name}{signature(function)}"
        lines += [f"`{shown}`", "", inspect.cleandoc(function.__doc__), ""]
    for name in registry.choices(kind):
        part = described(registry, name)
        lines += [f"## `{name}`", "", inspect.cleandoc(part["description"]), ""]
        if part["fields"]:
            lines += ["| field | type | default | meaning |", "| --- | --- | --- | --- |"]
            for field, said in part["fields"].items():
                default = said["default"] if said["default"] == "(required)" else show(said["default"]).strip("'")
                cells = (f"`{field}`", said["type"].replace(" | ", " or "), default, said["description"])
                lines.append(f"| {' | '.join(cells)} |")
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def signature(function: object) -> str:
    """``(*, grid: Grid) -> BlockMasker | RandomMasker``, without self."""
    found = inspect.signature(function)  # pyright: ignore[reportArgumentType]
    own = [each for name, each in found.parameters.items() if name != "self"]
    return str(found.replace(parameters=own)).replace("'", "")


def first_line(thing: object) -> str:
    """The first line of a docstring."""
    return (thing.__doc__ or "").strip().partition("\n")[0]


if __name__ == "__main__":
    API.mkdir(exist_ok=True)
    for name, text in pages().items():
        (API / name).write_text(text, encoding="utf-8")
