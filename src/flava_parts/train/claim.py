"""A folder belongs to one run: its spec, and what may be changed about it later."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, cast

from ..errors import InputError
from ..loading import NAMES, AnySpec, load
from ..registry import Registry
from ..writing import to_yaml
from .checkpoints.atomic_io import replace_text


def check_claim(path: Path, spec: AnySpec, *, registry: Registry | None = None, allow: Collection[str] = ()) -> None:
    """See that a folder has no spec yet, or the same one but for values that are allowed to change.

    ``allow`` holds names of values, ``train.steps``, or of blocks. Raises InputError, which shows the difference, if
    another value was changed.
    """
    before = _held(path, spec, registry)
    if before is None:
        return
    changed = list(changes(before.model_dump(mode="json"), spec.model_dump(mode="json")))
    refused = [name for name in changed if not any(name == word or name.startswith(f"{word}.") for word in allow)]
    if refused:
        named = " ".join(f"--allow {name}" for name in refused)
        raise InputError(
            f"{path}: the folder holds a {NAMES[type(spec)]} with another spec; choose another --out, or go on "
            f"with the change by {named}\n{_difference(path, to_yaml(before), to_yaml(spec))}"
        )


def claim(path: Path, spec: AnySpec, *, registry: Registry | None = None) -> None:
    """Write the resolved spec, unless it is there; once `check_claim` and all that may refuse the spec are past."""
    if _held(path, spec, registry) != spec:
        replace_text(path, to_yaml(spec))


def changes(before: Any, after: Any, name: str = "") -> Iterator[str]:
    """The names of the values that two specs, as plain data, do not have in common: ``train.steps``."""
    if isinstance(before, dict) and isinstance(after, dict):
        old, new = cast(dict[str, Any], before), cast(dict[str, Any], after)
        for key in [*old, *(key for key in new if key not in old)]:
            yield from changes(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif before != after:
        yield name


def _held(path: Path, spec: AnySpec, registry: Registry | None) -> AnySpec | None:
    return load(path, type(spec), registry=registry).spec if path.exists() else None


def _difference(path: Path, before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), str(path), "asked for", n=1, lineterm="")
    return "\n".join(lines)
