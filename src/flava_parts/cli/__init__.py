"""The command line: one thin file a verb. Everything heavy is imported inside the verb that needs it."""

from __future__ import annotations

import sys
from importlib import import_module
from io import TextIOWrapper

import typer

from ..errors import FlavaPartsError
from .verbs import Verbs

VERBS = (
    "check",
    "explain",
    "parts",
    "schema",
    "plugin",
    "init",
    "data",
    "train",
    "finetune",
    "embed",
    "score",
    "eval",
    "convert",
    "export",
)
"""Each verb is the function, or the group of functions, of that name in the module of that name."""


def app() -> typer.Typer:
    """The command with all its verbs; those of plugins are found when they are asked for."""
    command = typer.Typer(
        name="flava-parts",
        cls=Verbs,
        help="FLAVA in parts: compose it from YAML, pretrain it, look inside.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    command.callback()(_version)
    for verb in VERBS:
        found = getattr(import_module(f".{verb}", __name__), verb)
        if isinstance(found, typer.Typer):
            command.add_typer(found, name=verb)
        else:
            command.command(verb)(found)
    return command


def main() -> None:
    """Run the command line. Exits with 0 when done, 1 when that failed, 2 when the input was wrong."""
    if isinstance(sys.stdout, TextIOWrapper):  # names of files need not be UTF-8, and are to be told all the same
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()()
    except FlavaPartsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def _show_version(asked: bool) -> None:
    if asked:
        from .. import __version__

        print(__version__)
        raise typer.Exit


def _version(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None: ...
