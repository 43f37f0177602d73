"""How parts get into the registry: by the hooks of plugins, each of which is loaded under its own guard.

A plugin is a module (or any object) with functions marked ``@hookimpl`` and named after a hook. An installed
distribution offers one by an entry point of the group ``flava_parts``. The hooks only *name* things; none is ever
called while a model is built or trained.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args, get_origin

import pluggy

from .errors import PluginError
from .hooks import API, GROUP, Hooks
from .installed import LateError, installed, is_blocked, load_in_time
from .part import PartSpec
from .registry import Broken, Entry, Origin, Preset, Registry, article, nearest

RESERVED = "flava"
"""The namespace of the built-in parts and presets."""
BUILT_IN = Origin("flava_parts")

_TYPE_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_PRESET_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9][a-z0-9_]*)+")


@lru_cache(maxsize=1)
def default_registry() -> Registry:
    """The registry of the built-in parts and of every installed plugin, loaded once a process."""
    return load_registry()


def load_registry(*, plugins: Sequence[object] = (), entry_points: bool = True, block: Sequence[str] = ()) -> Registry:
    """Register the built-in parts, then ``plugins``, then the entry points of installed distributions.

    ``block`` and the environment variable ``FLAVA_PARTS_BLOCK`` (names, comma-separated) leave out entry points by
    their own name or their distribution's. Nothing that a plugin does raises here: it is remembered in the registry,
    and told when the plugin's part is asked for. The order of plugins never matters. One that is still loading after
    30 s is given up, where that can be done: in the main thread of a system that has alarms.
    """
    from . import builtin

    loading = _Loading()
    loading.add(BUILT_IN, lambda: builtin)
    for plugin in plugins:
        loading.add(Origin(getattr(plugin, "__name__", type(plugin).__name__)), lambda plugin=plugin: plugin)
    if entry_points:
        for origin, point in installed():
            if is_blocked(origin, block):
                loading.blocked.append(origin)
            else:
                loading.add(origin, lambda point=point: load_in_time(point))
    return loading.finish()


_T = TypeVar("_T", Entry, Preset)


class _Loading:
    """What has been claimed so far, by whom."""

    def __init__(self) -> None:
        self.entries: dict[str, list[Entry]] = {}
        self.presets: dict[str, list[Preset]] = {}
        self.kinds: dict[str, type[PartSpec]] = {}
        self.broken: list[Broken] = []
        self.blocked: list[Origin] = []
        self.seen: list[object] = []

    def add(self, origin: Origin, load: Callable[[], object]) -> None:
        """Load one plugin and call its hooks, remembering whatever fails."""
        plugin = self._guarded(origin, "failed to load", load)
        if plugin is None or any(plugin is other for other in self.seen):
            return
        self.seen.append(plugin)
        api = getattr(plugin, "FLAVA_PARTS_API", API)
        if api != API:
            self._remember(
                origin,
                f"is written for version {api!r} of the plugin interface, but this flava-parts has version {API}; "
                "install releases of the two that agree",
            )
            return
        # A manager of its own for each plugin: no raising hook and no hook wrapper reaches another plugin's call.
        manager = pluggy.PluginManager(GROUP)
        manager.add_hookspecs(Hooks)

        def register() -> list[str]:
            manager.register(plugin, name=origin.plugin)
            return [caller.name for caller in manager.get_hookcallers(plugin) or ()]

        implemented = self._guarded(origin, "could not be registered", register)
        if implemented is None:
            return
        hooks = tuple(name for name in vars(Hooks) if name.startswith("flava_parts_"))
        for name in sorted(set(implemented) - set(hooks)):
            near = nearest(name, hooks)
            self._remember(
                origin, f"implements an unknown hook '{name}'" + (f"; did you mean '{near}'?" if near else "")
            )
        unmarked = [name for name in hooks if name not in implemented and callable(getattr(plugin, name, None))]
        for name in unmarked:
            self._remember(origin, f"has a function '{name}' that is not marked with @hookimpl")
        if not implemented and not unmarked:
            self._remember(origin, "implements no hook")
        if "flava_parts_specs" in implemented:
            returned = self._guarded(
                origin,
                "failed in flava_parts_specs",
                lambda: [spec for result in manager.hook.flava_parts_specs() for spec in result],
            )
            for spec in returned or ():
                self._guarded(origin, "offers something unusable", lambda spec=spec: self._add_spec(origin, spec))
        if "flava_parts_presets" in implemented:
            files = self._guarded(
                origin,
                "failed in flava_parts_presets",
                lambda: [file for folder in manager.hook.flava_parts_presets() for file in folder.iterdir()],
            )
            for file in files or ():
                self._add_preset(origin, file)

    def finish(self) -> Registry:
        """The frozen result; names with two claimants are taken out of it."""
        contested = {
            name: tuple(claim.origin for claim in claims)
            for names in (self.entries, self.presets)
            for name, claims in names.items()
            if len(claims) > 1
        }
        return Registry(
            entries=MappingProxyType(_uncontested(self.entries)),
            presets=MappingProxyType(_uncontested(self.presets)),
            kinds=MappingProxyType(self.kinds),
            contested=MappingProxyType(contested),
            broken=tuple(self.broken),
            blocked=tuple(self.blocked),
        )

    def _add_spec(self, origin: Origin, spec: Any) -> None:
        wrong = _unfit(spec)
        if wrong:
            self._remember(origin, f"offers {_name_of(spec)}, {wrong}")
            return
        name = spec.type_name()
        if self._refused(origin, name):
            return
        if origin is BUILT_IN:
            self.kinds.setdefault(spec.kind, _base_of_kind(spec))
        base = self.kinds.get(spec.kind)
        if base is None:
            known = ", ".join(sorted(self.kinds))
            self._remember(origin, f"offers '{name}' of an unknown kind '{spec.kind}'; the kinds are {known}")
            return
        if not issubclass(spec, base):
            self._remember(origin, f"offers '{name}', {article(spec.kind)} that does not derive from {base.__name__}")
            return
        claims = self.entries.setdefault(name, [])
        if not any(claim.spec is spec for claim in claims):
            claims.append(Entry(name, spec, origin))

    def _add_preset(self, origin: Origin, file: Traversable) -> None:
        name, dot, suffix = file.name.rpartition(".")
        if not dot or suffix != "yaml":
            return
        if not _PRESET_NAME.fullmatch(name):
            self._remember(origin, f"offers the preset '{file.name}', which is not named <namespace>.<name>.yaml")
        elif not self._refused(origin, name):
            self.presets.setdefault(name, []).append(Preset(name, file, origin))

    def _refused(self, origin: Origin, name: str) -> bool:
        foreign = name.partition(".")[0] == RESERVED and origin is not BUILT_IN
        if foreign:
            self._remember(origin, f"offers '{name}', but the namespace '{RESERVED}' belongs to the built-in parts")
        return foreign

    def _guarded(self, origin: Origin, failure: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except LateError as late:
            self._remember(origin, f"{failure}: {late}")
        except (Exception, SystemExit) as error:
            text = " ".join(str(error).split())
            self._remember(origin, f"{failure}: {type(error).__name__}{': ' if text else ''}{text}")
        return None

    def _remember(self, origin: Origin, reason: str) -> None:
        self.broken.append(Broken(origin, PluginError(reason)))


def _uncontested(claims: dict[str, list[_T]]) -> dict[str, _T]:
    return {name: claim[0] for name, claim in sorted(claims.items()) if len(claim) == 1}


def _unfit(spec: Any) -> str | None:
    """Why a thing that a plugin returned is not the spec of a part."""
    if not (inspect.isclass(spec) and issubclass(spec, PartSpec)):
        return "which is no subclass of PartSpec"
    if not spec.kind:
        return "which has no kind: it should derive from the abstract spec of a kind"
    field = spec.model_fields["type"]
    names = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    if len(names) != 1 or names != (field.default,):
        return 'whose type is not declared as type: Literal["<namespace>.<part>"] = "<namespace>.<part>"'
    if not (isinstance(names[0], str) and _TYPE_NAME.fullmatch(names[0])):
        return f"whose type {names[0]!r} is not <namespace>.<part> in lower case"
    if inspect.isabstract(spec):
        return f"which leaves {', '.join(sorted(spec.__abstractmethods__))} undefined"
    if not spec.__pydantic_complete__:
        spec.model_rebuild()
    if "base" in spec.model_fields:
        return "which has a field 'base', the word for inheritance in YAML files"
    return None


def _base_of_kind(spec: type[PartSpec]) -> type[PartSpec]:
    """The abstract spec that gave ``spec`` its kind."""
    return next(base for base in spec.__mro__ if "kind" in vars(base) and issubclass(base, PartSpec))


def _name_of(thing: object) -> str:
    return thing.__name__ if inspect.isclass(thing) else repr(thing)[:80]
