"""The verbs that plugins bring: entry points, each imported when it is asked for, or when help lists all of them.

Parts and presets stay where they are, so that help does not grow slow with every plugin that is installed.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint
from typing import Any

import typer
from typer.core import TyperGroup

from ..errors import InputError
from ..installed import VERBS, LateError, installed, is_blocked, load_in_time
from ..registry import Origin, claims

_NAME = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb of the command line that a plugin offers: a function that typer reads, or a ``typer.Typer`` of several."""

    name: str
    origin: Origin
    point: EntryPoint

    def command(self) -> Any:
        """The command. Raises InputError for one that cannot be imported or read."""
        if not _NAME.fullmatch(self.name):
            raise self._error("whose name is not in lower case, with hyphens")
        try:
            found = load_in_time(self.point)
        except LateError as late:
            raise self._error(f"which failed to load: {late}") from None
        except (Exception, SystemExit) as error:
            raise self._error(f"which failed to load: {type(error).__name__}: {error}") from None
        if not callable(found):
            raise self._error(f"which is {repr(found)[:80]}, no function")
        try:
            return self._read(found)
        except Exception as error:  # whatever typer finds wrong with it
            raise self._error(f"which typer cannot read: {type(error).__name__}: {error}") from None

    def _read(self, found: Any) -> Any:
        around = typer.Typer(rich_markup_mode=None)
        around.callback()(_nothing)
        if isinstance(found, typer.Typer):
            around.add_typer(found, name=self.name)
        else:
            around.command(self.name)(found)
        return typer.main.get_group(around).commands[self.name]

    def _error(self, what: str) -> InputError:
        return InputError(f"{self.origin} offers the verb '{self.name}', {what}")


def _nothing() -> None: ...


def offered() -> dict[str, list[Verb]]:
    """What installed plugins offer, by name: more than one where they contest it."""
    found: dict[str, list[Verb]] = {}
    for origin, point in installed(VERBS):
        if not is_blocked(origin):
            found.setdefault(point.name, []).append(Verb(point.name, origin, point))
    return found


class Verbs(TyperGroup):
    """The built-in verbs, then those of installed plugins.

    A verb that cannot be had is told where it is asked for, and left out of the list; the others stay.
    """

    @cached_property
    def offered(self) -> dict[str, list[Verb]]:
        """What installed plugins offer, looked for once."""
        return offered()

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, built-in ones first."""
        found = self.offered
        for name in found.keys() & self.commands.keys():
            print(f"warning: {found[name][0].origin} offers the verb '{name}', which is built in", file=sys.stderr)
        return [*super().list_commands(ctx), *(name for name in found if name not in self.commands)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or none. Raises InputError for one that a plugin should have, and has not."""
        built_in = super().get_command(ctx, cmd_name)
        if built_in is not None:
            return built_in
        verbs = self.offered.get(cmd_name, [])
        try:
            if len(verbs) > 1:
                raise InputError(f"there is no verb '{cmd_name}'; {claims(tuple(verb.origin for verb in verbs))}")
            return verbs[0].command() if verbs else None
        except InputError as error:
            if ctx.resilient_parsing or sys.argv[1:2] != [cmd_name]:
                print(f"warning: {error}", file=sys.stderr)
                return None
            raise
