"""Pictures in class folders."""

from __future__ import annotations

import numpy as np

from ...errors import InputError
from .caption_rule import UnusableError
from .class_folders import class_folders
from .folder import picture_in, pictures_below
from .record import Record, Records
from .strings import Strings


class ImageFolder(Records):
    """The pictures below a folder, each labelled by the sub-folder that it lies in; read from disk when asked for.

    folder: holds a sub-folder for each class. Raises InputError if it does not, or if a class has no picture.
    """

    def __init__(self, *, folder: str) -> None:
        super().__init__(folder)
        groups = class_folders(folder)
        self._names = Strings.of(f"{group.name}/{name}" for group in groups for name in pictures_below(group))
        counts = np.zeros(len(groups), dtype=np.int64)
        numbers = {group.name: number for number, group in enumerate(groups)}
        for index in range(len(self._names)):
            counts[numbers[self._names[index].partition("/")[0]]] += 1
        if (counts == 0).any():
            empty = groups[int(counts.argmin())]
            raise InputError(f"{empty}: holds no JPEG, PNG or WebP picture; add some, or remove the folder")
        self._ends = counts.cumsum()

    def __len__(self) -> int:
        return len(self._names)

    def record(self, index: int) -> Record:
        """Key ``class/file``, the picture's file, and the class as label."""
        key = self._names[index]
        try:
            picture = picture_in(self.name, key)
        except UnusableError as error:
            raise self.bad(key, error.reason, str(error)) from None
        return Record(key, picture, labels=(int(np.searchsorted(self._ends, index, side="right")),))
