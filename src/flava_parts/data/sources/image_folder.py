"""Pictures in class folders."""

from __future__ import annotations

import numpy as np
from torch import Generator

from ...errors import InputError
from ...inputs.pictures import open_picture, rgb
from .class_folders import class_folders
from .sample import Sample

SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".webp"})
"""Files with other endings are not looked at."""


class ImageFolder:
    """The pictures below a folder, each labelled by the sub-folder that it lies in; read from disk when asked for.

    folder: holds a sub-folder for each class. Raises InputError if it does not, or if a class has no picture.
    """

    def __init__(self, *, folder: str) -> None:
        self._folder = folder
        self._places = [
            (path, label)
            for label, group in enumerate(class_folders(folder))
            for path in sorted(group.rglob("*"))
            if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
        ]
        held = {label for _, label in self._places}
        for label, group in enumerate(class_folders(folder)):
            if label not in held:
                raise InputError(f"{group}: holds no JPEG, PNG or WebP picture; add some, or remove the folder")

    def __len__(self) -> int:
        return len(self._places)

    def sample(self, index: int, generator: Generator | None = None) -> Sample:
        """Key ``class/file``, picture, and the class as label; the same at every reading."""
        path, label = self._places[index]
        picture = open_picture(path)
        pixels = np.asarray(picture.convert("RGBA") if picture.has_transparency_data else rgb(picture, 255))
        return Sample(key=path.relative_to(self._folder).as_posix(), image=pixels, labels=(label,))
