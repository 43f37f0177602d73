"""Whether installed plugins are well: each is imported in a process of its own, then all are registered in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass

from ..errors import InputError
from ..installed import installed, seconds
from ..plugins import BUILT_IN, load_registry
from ..registry import Origin, Registry, claims
from . import VERBS
from .options import imported
from .verbs import Verb, offered

HEAVY = ("torch", "torchvision", "transformers", "timm", "numpy", "tensorflow", "jax")
"""What makes every command slow that only wants to know names."""

_PROBE = f"""
import importlib, json, sys, time
begun = time.perf_counter()
importlib.import_module(sys.argv[1])
spent = time.perf_counter() - begun
print(json.dumps([spent, [heavy for heavy in {HEAVY!r} if heavy in sys.modules]]))
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known about one plugin, or about a name that two of them claim."""

    about: str
    well: bool
    what: str
    mend: str = ""

    def __str__(self) -> str:
        text = f"{'well' if self.well else 'ill ':4}  {self.about}: {self.what}"
        return text + (f"\n      mend it: {self.mend}" if self.mend else "")


@dataclass(frozen=True, slots=True)
class _Import:
    """How the import of a plugin went in a process of its own."""

    seconds: float
    heavy: tuple[str, ...] = ()
    hung: bool = False


def examine(plugins: list[str] | None = None) -> list[Finding]:
    """What ails each installed plugin and each of ``plugins``, with what to do about it; and which are well."""
    imports = {origin: _imported(point.module) for origin, point in installed()}
    hung = [origin for origin, found in imports.items() if found is not None and found.hung]
    registry = load_registry(
        plugins=[imported(plugin) for plugin in plugins or ()], block=[origin.plugin for origin in hung]
    )
    findings = [
        Finding(str(origin), False, f"not imported after {seconds():g} s, so given up", _leave_out(origin))
        for origin in hung
    ]
    findings += [
        Finding(str(broken.origin), False, str(broken.error), _mend(str(broken.error), broken.origin))
        for broken in registry.broken
    ]
    findings += [_contested(f"the name '{name}'", origins) for name, origins in registry.contested.items()]
    verbs = offered()
    findings += _ill_verbs(verbs)
    ill = {finding.about for finding in findings}
    for origin in _known(registry, imports, verbs):
        found = imports.get(origin)
        if origin in registry.blocked:
            if origin not in hung:
                findings.append(Finding(str(origin), True, "is blocked, as was asked for"))
        elif found is not None and found.heavy:
            findings.append(_slow(origin, found, "as it loads", "in every command", "inside `build`"))
        elif str(origin) not in ill:
            findings.append(Finding(str(origin), True, _offer(registry, verbs, origin)))
    return findings


def _ill_verbs(offered: dict[str, list[Verb]]) -> list[Finding]:
    findings: list[Finding] = []
    for name, verbs in offered.items():
        origins = tuple(verb.origin for verb in verbs)
        if name in VERBS:
            findings += [
                Finding(str(origin), False, f"offers the verb '{name}', which is built in", "ask its author to rename")
                for origin in origins
            ]
        elif len(verbs) > 1:
            findings.append(_contested(f"the verb '{name}'", origins))
        else:
            findings += _ill_verb(verbs[0])
    return findings


def _ill_verb(verb: Verb) -> list[Finding]:
    found = _imported(verb.point.module)
    if found is not None and found.hung:
        what = f"the module of its verb '{verb.name}' was not imported after {seconds():g} s, so given up"
        return [Finding(str(verb.origin), False, what, _leave_out(verb.origin))]
    try:
        verb.command()
    except InputError as error:
        text = str(error).removeprefix(f"{verb.origin} ")
        return [Finding(str(verb.origin), False, text, _mend(text, verb.origin))]
    if found is not None and found.heavy:
        return [_slow(verb.origin, found, f"with its verb '{verb.name}'", "whenever help is asked for", "in the verb")]
    return []


def _contested(about: str, origins: tuple[Origin, ...]) -> Finding:
    return Finding(about, False, claims(origins), "uninstall or block one of them; ask both to rename")


def _slow(origin: Origin, found: _Import, when: str, where: str, instead: str) -> Finding:
    return Finding(
        str(origin),
        False,
        f"imports {', '.join(found.heavy)} {when}, {found.seconds:.1f} s in all, {where}",
        f"its author should import that {instead}; it works all the same",
    )


def _known(registry: Registry, imports: dict[Origin, _Import | None], verbs: dict[str, list[Verb]]) -> list[Origin]:
    """Every plugin, the built-in one first."""
    offering = [entry.origin for entry in (*registry.entries.values(), *registry.presets.values())]
    offering += [verb.origin for claimed in verbs.values() for verb in claimed]
    return list(dict.fromkeys([BUILT_IN, *imports, *offering]))


def _imported(module: str) -> _Import | None:
    """The import of a module in a process of its own; None if it fails, which registration then says better."""
    limit = seconds()
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, module],
            capture_output=True,
            text=True,
            timeout=limit,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths},
        )
    except subprocess.TimeoutExpired:
        return _Import(limit, hung=True)
    if done.returncode:
        return None
    spent, heavy = json.loads(done.stdout.strip().splitlines()[-1])
    return _Import(spent, tuple(heavy))


def _offer(registry: Registry, verbs: dict[str, list[Verb]], origin: Origin) -> str:
    parts = sum(entry.origin == origin for entry in registry.entries.values())
    presets = sum(preset.origin == origin for preset in registry.presets.values())
    called = [name for name, claimed in verbs.items() if claimed[0].origin == origin]
    text = f"{parts} part{'s' * (parts != 1)}, {presets} preset{'s' * (presets != 1)}"
    return text + (f", the verb{'s' * (len(called) != 1)} {' and '.join(called)}" if called else "")


def _leave_out(origin: Origin) -> str:
    remove = f"uninstall it (pip uninstall {origin.distribution}), or " if origin.distribution else ""
    return f"{remove}leave it out with FLAVA_PARTS_BLOCK={origin.plugin}"


def _mend(error: str, origin: Origin) -> str:
    if "ModuleNotFoundError: No module named" in error:
        return f"install what is missing; or {_leave_out(origin)}"
    return f"tell its author; until then {_leave_out(origin)}"
