"""Checkpoints on the Hugging Face hub. Its package is imported only when one is asked for."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import InputError

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WANTED = ["*.safetensors", "*.json", "*.txt", "*.yaml"]
_UNWANTED = ["optimizer.safetensors", "*/*"]


def is_hub_id(source: str) -> bool:
    """Whether a name has the form ``owner/name``."""
    return _ID.fullmatch(source) is not None


def download(repo: str, revision: str | None = None) -> Path:
    """The folder of a repository's weights, configs and vocabularies, fetched where they are not yet; no pickles.

    ``revision`` is a branch, tag or commit, the main branch if not given; `HF_HUB_OFFLINE` is honoured. Raises
    InputError if the package is missing, the hub cannot be reached, or has no such repository.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise InputError(
            f"{repo}: is no folder here, and fetching it from the hub needs a package: pip install 'flava-parts[hub]'"
        ) from None
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=_WANTED, ignore_patterns=_UNWANTED))
    except Exception as error:  # the hub's own, the HTTP library's, the file system's: whatever stopped the download
        at = f" at revision {revision}" if revision else ""
        raise InputError(
            f"{repo}: is no folder here and cannot be fetched from the hub{at} ({type(error).__name__}); check the "
            "name and the connection, unset HF_HUB_OFFLINE, or give the folder of a copy"
        ) from error
