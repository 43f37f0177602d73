"""`MANIFEST.json`: what a checkpoint consists of, written last; a checkpoint is what its manifest says, or damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, cast

MANIFEST = "MANIFEST.json"
"""The file's name in a checkpoint."""

Entry = dict[str, int | str]
"""``{"bytes": 1024, "sha256": "9f86…"}``."""


def manifest_of(folder: Path, known: Mapping[str, Entry] | None = None) -> str:
    """The manifest of the files that are in a folder now: name, size and SHA-256 of each, as far as they are not
    ``known``."""
    known = known or {}
    files = (path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    names = sorted(path.relative_to(folder).as_posix() for path in files)
    return _text({name: known.get(name) or _entry(folder / name) for name in names})


def entries_of(folder: Path, files: Iterable[Path]) -> dict[str, Entry]:
    """The entries of some files in a folder, by name."""
    return {path.relative_to(folder).as_posix(): _entry(path) for path in files}


def files_named(checkpoint: Path) -> list[str]:
    """The names of the files that a checkpoint's manifest tells of, as ``model/shard-00001…``, sorted.

    Raises FileNotFoundError if there is no manifest, and ValueError if it cannot be read, or names files elsewhere.
    """
    return sorted(_files(checkpoint))


def damage(checkpoint: Path, only: Collection[str] | None = None, share: tuple[int, int] = (0, 1)) -> str | None:
    """What is wrong with a checkpoint, the first thing found; None if every file is what its manifest says.

    ``only`` names the files and folders that are needed, if not all are; ``share`` says which of how many processes
    this one is, each of which looks at some of the files. Files that the manifest does not name do not matter.
    """
    try:
        files = _files(checkpoint)
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except ValueError as error:
        return f"{MANIFEST} {error}"
    needed = [name for name in files if only is None or PurePosixPath(name).parts[0] in only]
    for name in needed[share[0] :: share[1]]:
        path, entry = checkpoint / name, files[name]
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


def _files(checkpoint: Path) -> dict[str, Entry]:
    try:
        text = (checkpoint / MANIFEST).read_text(encoding="utf-8")
        files: object = json.loads(text)["files"]
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("cannot be read") from None
    # One way of writing it, so that not even a blank can change unnoticed.
    if not isinstance(files, dict) or text != _text(cast(dict[str, Any], files)):
        raise ValueError("was changed")
    for name in cast(dict[str, Any], files):
        if "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
            raise ValueError(f"names {name!r}, which is no file of the checkpoint")
    return cast(dict[str, Entry], files)


def _entry(path: Path) -> Entry:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _text(files: Mapping[str, Any]) -> str:
    return json.dumps({"files": files}, indent=2, sort_keys=True) + "\n"
