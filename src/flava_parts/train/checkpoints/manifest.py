"""`MANIFEST.json`: what a checkpoint consists of, written last; a checkpoint is what its manifest says, or damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, cast

MANIFEST = "MANIFEST.json"
"""The file's name in a checkpoint."""

Entry = Mapping[str, int | str]
"""``{"bytes": 1024, "sha256": "9f86…"}``."""


def manifest_of(folder: Path) -> str:
    """The manifest of the files that are in a folder now: name, size and SHA-256 of each."""
    files = {path.name: _entry(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    return _text(files)


def damage(checkpoint: Path, only: Collection[str] | None = None) -> str | None:
    """What is wrong with a checkpoint, the first thing found; None if every file is what its manifest says.

    ``only`` names the files that are needed, if not all are. Files that the manifest does not name do not matter.
    """
    try:
        text = (checkpoint / MANIFEST).read_text(encoding="utf-8")
        files: object = json.loads(text)["files"]
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return f"{MANIFEST} cannot be read"
    # One way of writing it, so that not even a blank can change unnoticed.
    if not isinstance(files, dict) or text != _text(cast(dict[str, Any], files)):
        return f"{MANIFEST} was changed"
    for name, entry in cast(dict[str, Any], files).items():
        if Path(name).name != name:
            return f"{MANIFEST} names {name!r}, which is no file of the checkpoint"
        if only is not None and name not in only:
            continue
        path = checkpoint / name
        try:
            if path.stat().st_size != entry["bytes"]:
                return f"{name} has {path.stat().st_size} bytes, not {entry['bytes']}"
            if _entry(path) != entry:
                return f"{name} was changed: its SHA-256 is another"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
        except (TypeError, KeyError):
            return f"{MANIFEST} was changed"
    return None


def _entry(path: Path) -> Entry:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _text(files: Mapping[str, Any]) -> str:
    return json.dumps({"files": files}, indent=2, sort_keys=True) + "\n"
