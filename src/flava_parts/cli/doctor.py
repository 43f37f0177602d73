"""Whether installed plugins are well: each is imported in a process of its own, then all are registered in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass

from ..plugins import BUILT_IN, installed, load_registry, seconds
from ..registry import Origin, Registry, claims
from .options import imported

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
    findings += [
        Finding(f"the name '{name}'", False, claims(origins), "uninstall or block one of them; ask both to rename")
        for name, origins in registry.contested.items()
    ]
    ill = {finding.about for finding in findings}
    for origin in _known(registry, imports):
        found = imports.get(origin)
        if origin in registry.blocked:
            if origin not in hung:
                findings.append(Finding(str(origin), True, "is blocked, as was asked for"))
        elif found is not None and found.heavy:
            findings.append(
                Finding(
                    str(origin),
                    False,
                    f"imports {', '.join(found.heavy)} as it loads, {found.seconds:.1f} s in all, in every command",
                    "its author should import that inside `build`; it works all the same",
                )
            )
        elif str(origin) not in ill:
            findings.append(Finding(str(origin), True, _offer(registry, origin)))
    return findings


def _known(registry: Registry, imports: dict[Origin, _Import | None]) -> list[Origin]:
    """Every plugin, the built-in one first."""
    offering = [entry.origin for entry in (*registry.entries.values(), *registry.presets.values())]
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


def _offer(registry: Registry, origin: Origin) -> str:
    parts = sum(entry.origin == origin for entry in registry.entries.values())
    presets = sum(preset.origin == origin for preset in registry.presets.values())
    return f"{parts} part{'s' * (parts != 1)}, {presets} preset{'s' * (presets != 1)}"


def _leave_out(origin: Origin) -> str:
    remove = f"uninstall it (pip uninstall {origin.distribution}), or " if origin.distribution else ""
    return f"{remove}leave it out with FLAVA_PARTS_BLOCK={origin.plugin}"


def _mend(error: str, origin: Origin) -> str:
    if "ModuleNotFoundError: No module named" in error:
        return f"install what is missing; or {_leave_out(origin)}"
    return f"tell its author; until then {_leave_out(origin)}"
