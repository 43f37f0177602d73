"""Tar files written for a test."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path


def write_tar(
    path: Path,
    members: Mapping[str, bytes] | Iterable[tuple[str, bytes]],
    *,
    others: Iterable[tuple[str, bytes]] = (),
    form: int = tarfile.DEFAULT_FORMAT,
) -> Path:
    """A tar file of files, and of ``others``: names of links, devices and folders with their kinds."""
    with tarfile.open(path, "w", format=form) as archive:
        for name, kind in others:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.linkname = "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            archive.addfile(member)
        for name, content in members.items() if isinstance(members, Mapping) else members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
