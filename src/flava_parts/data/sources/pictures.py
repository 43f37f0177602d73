"""Pictures in a folder, without classes."""

from __future__ import annotations

from ...errors import InputError
from .caption_rule import UnusableError
from .folder import picture_in, pictures_below
from .record import Record, Records
from .strings import Strings


class Pictures(Records):
    """The pictures below a folder, in deeper folders too; read from disk when asked for.

    Raises InputError if there is no such folder, or no picture in it.
    """

    def __init__(self, *, folder: str) -> None:
        super().__init__(folder)
        self._names = Strings.of(pictures_below(folder))
        if not len(self._names):
            raise InputError(f"{folder}: holds no JPEG, PNG or WebP picture")

    def __len__(self) -> int:
        return len(self._names)

    def record(self, index: int) -> Record:
        """Key, the file's name below the folder, and its content."""
        key = self._names[index]
        try:
            return Record(key, picture_in(self.name, key))
        except UnusableError as error:
            raise self.bad(key, error.reason, str(error)) from None
