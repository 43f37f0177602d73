"""The registry: a frozen value that maps the type names of parts to their specs, and remembers what went wrong."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .errors import PluginError

if TYPE_CHECKING:
    from .part import PartSpec

NEAR = 0.7
"""How alike two names must be for one to be offered in place of the other (difflib's ratio)."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who registered a part: the plugin's name, and the distribution that was installed to get it, if any."""

    plugin: str
    distribution: str | None = None
    version: str | None = None

    def __str__(self) -> str:
        package = f" ({self.distribution} {self.version})" if self.distribution else ""
        return f"plugin '{self.plugin}'{package}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered part."""

    name: str
    spec: type[PartSpec]
    origin: Origin

    @property
    def kind(self) -> str:
        """The slot family that the part fills."""
        return self.spec.kind


@dataclass(frozen=True, slots=True)
class Preset:
    """One registered YAML file, usable by its name."""

    name: str
    file: Traversable
    origin: Origin


@dataclass(frozen=True, slots=True)
class Broken:
    """A plugin, or one thing that it returned, which could not be registered, and why, in a line."""

    origin: Origin
    error: PluginError

    def __str__(self) -> str:
        return f"{self.origin} {self.error}"


def _frozen() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Registry:
    """Type name to spec and origin, for every part that can be used; and the reasons why others cannot.

    ``contested`` names have two claimants and belong to neither. ``kinds`` are the families that a slot can ask for,
    each with the abstract spec that its parts derive from.
    """

    entries: Mapping[str, Entry] = field(default_factory=_frozen)
    presets: Mapping[str, Preset] = field(default_factory=_frozen)
    kinds: Mapping[str, type[PartSpec]] = field(default_factory=_frozen)
    contested: Mapping[str, tuple[Origin, ...]] = field(default_factory=_frozen)
    broken: tuple[Broken, ...] = ()
    blocked: tuple[Origin, ...] = ()

    def get(self, name: str, kind: str | None = None) -> type[PartSpec] | None:
        """The spec of that name, if it is registered and of that kind."""
        entry = self.entries.get(name)
        return entry.spec if entry is not None and kind in (None, entry.kind) else None

    def choices(self, kind: str) -> tuple[str, ...]:
        """The names that can fill a slot of that kind, in alphabetical order."""
        return tuple(sorted(name for name, entry in self.entries.items() if entry.kind == kind))

    def nearest(self, name: str, kind: str) -> str | None:
        """The registered name of that kind that is most like ``name``; none if none is alike."""
        return nearest(name, self.choices(kind))

    def find(self, name: str) -> str | None:
        """``file:line`` of the spec class of that name."""
        entry = self.entries.get(name)
        if entry is None:
            return None
        try:
            return f"{inspect.getfile(entry.spec)}:{inspect.getsourcelines(entry.spec)[1]}"
        except (OSError, TypeError):
            return None

    def why_not(self, name: str, kind: str) -> str | None:
        """What is known about a part that `get` did not find: a sentence without its full stop, or none."""
        entry = self.entries.get(name)
        return f"that is {article(entry.kind)}" if entry is not None else self._reason(name, self.choices(kind))

    def why_no_preset(self, name: str) -> str | None:
        """What is known about a preset that is not there: a sentence without its full stop, or none."""
        return self._reason(name, tuple(self.presets))

    def _reason(self, name: str, names: tuple[str, ...]) -> str | None:
        if name in self.contested:
            return claims(self.contested[name])
        namespace = name.partition(".")[0]
        for broken in self.broken:
            if namespace in (broken.origin.plugin, broken.origin.distribution):
                return str(broken)
        for origin in self.blocked:
            if namespace in (origin.plugin, origin.distribution):
                return f"{origin} is blocked"
        near = nearest(name, names)
        if near is not None:
            return f"did you mean '{near}'?"
        if "." in name and self.broken and not any(known.partition(".")[0] == namespace for known in self.entries):
            return f"perhaps because {self.broken[0]}"
        return None


def claims(origins: tuple[Origin, ...]) -> str:
    """The sentence about a contested name."""
    return (
        f"both {' and '.join(map(str, origins))} claim that name, so neither has it; block one with FLAVA_PARTS_BLOCK"
    )


def nearest(name: str, names: tuple[str, ...]) -> str | None:
    """The name most like ``name``; none if none is alike."""
    return next(iter(difflib.get_close_matches(name[:100], names, n=1, cutoff=NEAR)), None)


def article(noun: str) -> str:
    """``an image_encoder``, ``a fusion``."""
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"
