"""The options that several verbs share."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..plugin_file import load_file

if TYPE_CHECKING:
    from ..registry import Registry

Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", "-p", metavar="MODULE", help="Also load this plugin: a module's name or a .py file."),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=VALUE", help="Change one value of the file; may be repeated.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def registry_with(plugins: list[str] | None) -> Registry:
    """The default registry, or one with these plugins too. Raises InputError for one that cannot be imported."""
    from ..plugins import default_registry, load_registry

    return load_registry(plugins=[imported(plugin) for plugin in plugins]) if plugins else default_registry()


def imported(plugin: str) -> ModuleType:
    """The module of a name or a .py file. Raises InputError if it cannot be imported."""
    try:
        return load_file(plugin) if plugin.endswith(".py") else import_module(plugin)
    except (Exception, SystemExit) as error:
        file = f"{plugin}.py"
        hint = f"; did you mean -p {file}?" if isinstance(error, ImportError) and Path(file).is_file() else ""
        raise InputError(f"-p {plugin}: {type(error).__name__}: {error}{hint}") from None
