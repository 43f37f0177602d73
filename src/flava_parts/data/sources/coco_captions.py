"""Pictures and captions as COCO has them."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from ...errors import InputError
from .byte_file import ByteFile
from .caption_rule import UnusableError, check_characters
from .folder import picture_in
from .record import Record, Records
from .strings import Strings


class CocoCaptions(Records):
    """The pictures that a JSON file in COCO's format lists, each with all captions that it has for them.

    file: has ``images`` (``id``, ``file_name``) and ``annotations`` (``image_id``, ``caption``), such as
    captions_train2017.json. folder: where the pictures lie. Pictures without captions, and captions of pictures that
    are not listed, are bad samples. Raises InputError for a file of another format.
    """

    def __init__(self, *, file: str, folder: str) -> None:
        super().__init__(file)
        self._folder = folder
        images, annotations = _read(file)
        numbers: dict[object, int] = {image["id"]: number for number, image in enumerate(images)}
        names = [str(image["file_name"]) for image in images]
        owners = array("q")
        for annotation in annotations:
            image = annotation["image_id"]
            if image not in numbers:
                numbers[image] = len(names)
                names.append(f"{image}")
            owners.append(numbers[image])
        order = np.argsort(np.array(owners, dtype=np.int64), kind="stable")
        counts = np.bincount(np.array(owners, dtype=np.int64), minlength=len(names))
        self._names = Strings.of(names)
        self._listed = len(images)
        self._captions = Strings.of(str(annotations[number]["caption"]) for number in order.tolist())
        self._ends = counts.cumsum()
        if not names:
            raise InputError(f"{file}: lists no picture")

    def __len__(self) -> int:
        return len(self._names)

    def record(self, index: int) -> Record:
        """Key, the picture's file name, its file, and all captions."""
        key = self._names[index]
        try:
            captions = self._captions_of(index)
            return Record(key, picture_in(self._folder, key), captions)
        except UnusableError as error:
            raise self.bad(key, error.reason, str(error)) from None

    def caption_lengths(self, index: int) -> Sequence[int]:
        """As `Records` has it; captions are in memory."""
        try:
            return list(map(len, self._captions_of(index)))
        except UnusableError:
            return ()

    def _captions_of(self, index: int) -> tuple[str, ...]:
        """The captions of a picture. Raises UnusableError if it has none, or is not listed."""
        start, stop = int(self._ends[index - 1]) if index else 0, int(self._ends[index])
        if index >= self._listed:
            raise UnusableError("has captions, but is not among the images", "missing-picture")
        if start == stop:
            raise UnusableError("has no caption", "missing-caption")
        captions = [text for text in (self._captions[number].strip() for number in range(start, stop)) if text]
        if not captions:
            raise UnusableError("its captions are empty", "empty-caption")
        check_characters(captions, "caption")
        return tuple(dict.fromkeys(captions))


def _read(path: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The images and annotations of a file. Raises InputError."""
    file = ByteFile(path)
    try:
        content: Any = json.loads(file.read(0, file.size))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON ({error})") from None
    finally:
        file.close()
    fields: Any = content if isinstance(content, dict) else {}
    for name, keys in (("images", ("id", "file_name")), ("annotations", ("image_id", "caption"))):
        entries: Any = fields.get(name)
        if not isinstance(entries, list):
            raise InputError(f"{path}: has no list {name!r}; this is not COCO's caption format")
        for number, entry in enumerate(cast(list[Any], entries)):
            if not isinstance(entry, dict) or not all(isinstance(entry.get(key), (str, int)) for key in keys):  # pyright: ignore
                raise InputError(f"{path}: {name}[{number}] should have {' and '.join(keys)}")
    return fields["images"], fields["annotations"]
