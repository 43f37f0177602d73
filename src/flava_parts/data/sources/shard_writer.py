"""Shards written from any source, each with its index."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import InputError
from .bad_sample import BadSampleError
from .byte_file import naming
from .record import Record, Records
from .shard_index import SUFFIX, write_index
from .source import Source

SUFFIXES = ((b"\xff\xd8\xff", "jpg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"RIFF", "webp"))
"""How the files of pictures begin, and what they are called."""


def write_shards(
    source: Source, folder: Path, *, shard_bytes: int, bad: Callable[[BadSampleError], None]
) -> tuple[int, list[Path]]:
    """Write all samples of a source as ``shard-000000.tar`` and so on, each with its index; how many, and the shards.

    shard_bytes: a shard that has grown to this is closed, and so is one that holds the next sample's key already: keys
    tell the samples of a shard apart, and in a source of several shards those of each may begin anew. bad: is told of
    each sample that cannot be used, which is left out, and may raise. The files of pictures are copied as they are; of
    a source that holds pixels, they are PNG. Captions are stored as .txt, all of them as .json if there are several,
    and labels as .cls, so that reading the shards gives the samples that the source gives. Raises InputError if the
    folder has shards, or cannot be written.
    """
    with naming(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob("shard-*.tar")):
        raise InputError(f"{folder}: holds shards already, and they are not overwritten; give another folder")
    count, written = 0, list[Path]()
    keys = set[str]()
    archive: _Archive | None = None
    try:
        for record in _records(source, bad):
            if archive is not None and (archive.size >= shard_bytes or record.key in keys):
                written.append(archive.finish())
                archive, keys = None, set()
            if archive is None:
                archive = _Archive(folder / f"shard-{len(written):06}.tar")
            archive.add(record)
            keys.add(record.key)
            count += 1
        if archive is not None:
            written.append(archive.finish())
    except BaseException:
        if archive is not None:
            archive.abandon()
        raise
    return count, written


class _Archive:
    """A shard that is being written, under a hidden name until it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hidden = path.with_name(f".{path.name}-{uuid4().hex}")
        with naming(str(path)):
            self._file = self._hidden.open("xb")
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    @property
    def size(self) -> int:
        return self._file.tell()

    def add(self, record: Record) -> None:
        stem = quote(record.key, safe="/", errors="surrogateescape").replace(".", "%2E")
        stem = f"%2F{stem[1:]}" if stem.startswith("/") else stem
        for suffix, content in _members(record):
            member = tarfile.TarInfo(f"{stem}.{suffix}")
            member.size = len(content)
            with naming(str(self._path)):
                self._tar.addfile(member, io.BytesIO(content))
            self._tar.getmembers().clear()  # the library would keep an object for each

    def finish(self) -> Path:
        """Close it, write its index, and give it its name, in this order: a shard that has a name has an index."""
        with naming(str(self._path)):
            self._tar.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            write_index(str(self._hidden))
            os.replace(f"{self._hidden}{SUFFIX}", f"{self._path}{SUFFIX}")
            os.replace(self._hidden, self._path)
        return self._path

    def abandon(self) -> None:
        """Leave nothing of it."""
        with suppress(OSError):  # closing writes what is left to write, which a full disk does not take
            self._file.close()
        Path(f"{self._hidden}{SUFFIX}").unlink(missing_ok=True)
        self._hidden.unlink(missing_ok=True)


def _records(source: Source, bad: Callable[[BadSampleError], None]) -> Iterator[Record]:
    for index in range(len(source)):
        try:
            if isinstance(source, Records):
                record = source.record(index)
                source.decoded(record)  # what cannot be decoded is found here rather than in training
            else:
                record = _recorded(source, index)
        except BadSampleError as error:
            bad(error)
            continue
        yield record


def _recorded(source: Source, index: int) -> Record:
    """What a source gives without a generator, as a record."""
    sample = source.sample(index)
    picture = None if sample.image is None else _png(sample.image)
    return Record(sample.key, picture, None if sample.text is None else (sample.text,), sample.labels)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _members(record: Record) -> Iterator[tuple[str, bytes]]:
    if record.picture is not None:
        content = record.picture
        yield next(suffix for start, suffix in SUFFIXES if content.startswith(start)), content
    if record.captions:
        yield "txt", record.captions[0].encode()
        if len(record.captions) > 1:
            yield "json", json.dumps({"captions": record.captions}, ensure_ascii=False).encode()
    if record.labels:
        yield "cls", " ".join(map(str, record.labels)).encode()
