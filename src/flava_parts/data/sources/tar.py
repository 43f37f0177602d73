"""A tar file in the WebDataset layout: members that share a stem are one sample."""

from __future__ import annotations

import tarfile
from pathlib import Path

from ...errors import InputError


class Tar:
    """The members of a tar file by stem and suffix, each read where it lies; nothing is unpacked.

    Raises `InputError` if the file is no whole tar file, or if a member is asked for that it does not have.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, dict[str, tuple[int, int]]] = {}
        try:
            with tarfile.open(path, "r:") as archive:
                for member in archive:
                    if member.isreg():
                        folder, slash, name = member.name.rpartition("/")
                        stem, _, suffix = name.partition(".")
                        self._places.setdefault(folder + slash + stem, {})[suffix] = (member.offset_data, member.size)
            self._bytes = path.read_bytes()
        except (OSError, tarfile.TarError) as error:
            raise InputError(f"{path}: no tar file could be read ({error})") from error

    @property
    def stems(self) -> tuple[str, ...]:
        """The names of the samples, in the order of the file."""
        return tuple(self._places)

    def read(self, stem: str, suffix: str) -> bytes:
        """The content of the member ``stem.suffix``."""
        place = self._places.get(stem, {}).get(suffix)
        if place is None:
            raise InputError(f"{self.path}: sample {stem!r} has no member {stem}.{suffix}")
        offset, size = place
        return self._bytes[offset : offset + size]
