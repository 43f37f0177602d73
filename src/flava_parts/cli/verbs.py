"""The verbs that plugins bring: found when a name is not built in, or when help lists all of them."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from ..errors import InputError

if TYPE_CHECKING:
    from ..registry import Verb


class Verbs(TyperGroup):
    """The built-in verbs, then those of installed plugins. Where none is installed, plugins are not even looked for.

    A verb that cannot be read is told where it is asked for, and left out of the list; the others stay.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, built-in ones first."""
        offered = _offered()
        for name in offered.keys() & self.commands.keys():
            print(f"warning: {offered[name].origin} offers the verb '{name}', which is built in", file=sys.stderr)
        return [*super().list_commands(ctx), *(name for name in offered if name not in self.commands)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or none. Raises InputError for one that a plugin should have, and has not."""
        built_in = super().get_command(ctx, cmd_name)
        if built_in is not None:
            return built_in
        verb = _offered().get(cmd_name)
        if verb is None:
            _tell_why_not(cmd_name)
            return None
        try:
            return _command(verb)
        except Exception as error:  # whatever typer finds wrong with it
            text = (
                f"{verb.origin} offers the verb '{cmd_name}', which typer cannot read: {type(error).__name__}: {error}"
            )
            if ctx.resilient_parsing or sys.argv[1:2] != [cmd_name]:
                print(f"warning: {text}", file=sys.stderr)
                return None
            raise InputError(text) from None


def _installed() -> bool:
    """Whether there is any plugin, without importing what reads them."""
    return bool(entry_points(group="flava_parts"))


def _offered() -> dict[str, Verb]:
    if not _installed():
        return {}
    from ..plugins import default_registry

    return dict(default_registry().verbs)


def _tell_why_not(name: str) -> None:
    """Raise InputError if there is a reason in the plugins why a verb is not there."""
    if not _installed():
        return
    from ..plugins import default_registry
    from ..registry import claims

    registry = default_registry()
    if name in registry.contested:
        raise InputError(f"there is no verb '{name}'; {claims(registry.contested[name])}")
    if registry.broken:
        print("note: not all plugins work, see flava-parts parts", file=sys.stderr)


def _command(verb: Verb) -> Any:
    """A plugin's function, or group of functions, as a command."""
    around = typer.Typer(rich_markup_mode=None)
    around.callback()(_nothing)
    if isinstance(verb.command, typer.Typer):
        around.add_typer(verb.command, name=verb.name)
    else:
        around.command(verb.name)(verb.command)
    return typer.main.get_group(around).commands[verb.name]


def _nothing() -> None: ...
