"""``flava-parts plugin``: begin a plugin, and see whether its parts keep their kinds' contracts."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .options import Json, Plugins, Set, registry_with

if TYPE_CHECKING:
    from ..part import PartSpec
    from ..registry import Registry

plugin = typer.Typer(no_args_is_help=True, help="Begin a plugin, or check the parts of one.")

SMALL = {
    "image_encoder": "image_size=16, patch_size=4, width=8",
    "text_encoder": "vocab_size=50, length=12, width=8",
    "fusion": "width=8",
    "codebook": "image_size=16, cells=4",
    "image_masker": "total=6",
    "text_masker": "",
    "pair_masker": "",
    "loss": "projection=8",
    "head": "",
    "tokenizer": "length=12",
    "source": "count=9",
    "optimizer": "",
    "schedule": "warmup=3",
    "observer": "",
    "evaluation": "",
}
"""The kinds that a plugin can begin with, and the fields with which its tests are quick."""


@plugin.command("new")
def new(
    name: Annotated[str, typer.Argument(help="The plugin's namespace, such as acme: lower case, no dots.")],
    kind: Annotated[str, typer.Option(help="The kind of its first part: image_encoder, loss, …")],
    folder: Annotated[Path | None, typer.Option(help="The folder to write; flava-parts-NAME if not given.")] = None,
) -> None:
    """Write an installable package with one part of a kind, whose tests pass. Never overwrites a folder."""
    from ..plugins import RESERVED

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name == RESERVED:
        raise InputError(f"'{name}' cannot be a namespace: use lower case letters, digits and _, and not '{RESERVED}'")
    if kind not in SMALL:
        raise InputError(f"there is no kind '{kind}'; the kinds are {', '.join(SMALL)}")
    folder = folder or Path(f"flava-parts-{name.replace('_', '-')}")
    if folder.exists():
        raise InputError(f"{folder}: is there already, and is not overwritten")
    written = _written(name, kind)
    try:
        for path, text in written.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from None
    print(f"{folder}: written; install it with: pip install -e {folder}")


def _written(name: str, kind: str) -> dict[str, str]:
    """The files of a new package, by their paths in it."""
    from ..registry import article

    package = f"flava_parts_{name}"
    words = {
        "name": name,
        "kind": kind,
        "type": f"{name}.{kind}",
        "package": package,
        "distribution": package.replace("_", "-"),
        "Class": "".join(word.capitalize() for word in f"{name}_{kind}".split("_")),
        "title": article(kind).replace("_", " "),
        "article": article(kind).replace("_", " "),
        "small": SMALL[kind],
    }
    scaffold = files("flava_parts.cli") / "scaffold"

    def filled(template: Traversable) -> str:
        return Template(template.read_text(encoding="utf-8")).substitute(words)

    return {
        "pyproject.toml": filled(scaffold / "pyproject.toml.txt"),
        "README.md": filled(scaffold / "README.md.txt"),
        "example.yaml": filled(scaffold / "kinds" / f"{kind}.yaml.txt"),
        f"src/{package}/__init__.py": filled(scaffold / "__init__.py.txt"),
        f"src/{package}/specs.py": filled(scaffold / "kinds" / f"{kind}.specs.txt"),
        f"src/{package}/{kind}.py": filled(scaffold / "kinds" / f"{kind}.part.txt"),
        "tests/test_conformance.py": filled(scaffold / "test_conformance.py.txt"),
    }


@plugin.command("check")
def check(
    name: Annotated[
        str, typer.Argument(help="A part, such as acme.swin; or a plugin or distribution, for all of its.")
    ],
    changes: Set = None,
    law: Annotated[list[str] | None, typer.Option(help="Test only this law; may be repeated.")] = None,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Test every law of the kinds of parts, and say which are broken, why, and how to mend it. Exits with 1 then.

    Parts are built and run with the defaults of their specs, but for `--set FIELD=VALUE`: keep them small.
    """
    from ..testing import check_part

    registry = registry_with(plugins)
    specs = [_spec(registry, part, changes or []) for part in _parts(registry, name)]
    reports = [check_part(spec, only=law or None) for spec in specs]
    print(json.dumps([report.as_json() for report in reports], indent=2) if as_json else "\n".join(map(str, reports)))
    if not all(report.ok for report in reports):
        raise typer.Exit(1)


def _parts(registry: Registry, name: str) -> list[str]:
    """The part of that name, or the parts of the plugin of that name."""
    from ..registry import nearest

    if name in registry.entries:
        return [name]
    owned = [
        part for part, entry in registry.entries.items() if name in (entry.origin.plugin, entry.origin.distribution)
    ]
    if owned:
        return owned
    near = nearest(name, tuple(registry.entries))
    hint = registry.why_not(name, "") or (f"did you mean '{near}'?" if near else "`flava-parts parts` lists them all")
    raise InputError(f"there is no part and no plugin named '{name}'; {hint}")


def _spec(registry: Registry, name: str, changes: list[str]) -> PartSpec:
    """The spec of a part with these fields changed."""
    from pydantic import ValidationError

    from ..errors import SpecError
    from ..inheritance import Reader
    from ..messages import explained
    from ..part import REGISTRY

    spec = registry.entries[name].spec
    tree = Reader(registry, {}).read({"type": name}, changes)
    try:
        return spec.model_validate(tree.plain(), context={REGISTRY: registry})
    except ValidationError as error:
        raise SpecError(explained(error, tree, spec, registry)) from None
