"""Shards: tar files in the WebDataset layout, each with an index, so that any sample is one reading."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, cast
from urllib.parse import unquote

from ...errors import InputError
from .byte_file import ByteFile
from .caption_rule import CaptionRule, UnusableError
from .opened import Opened
from .patterns import files_of
from .record import Record, Records
from .shard import Shard
from .shard_index import SUFFIX, ShardFacts

PICTURES = ("jpg", "jpeg", "png", "webp")
"""The suffixes of pictures, the first that a sample has."""
JSON = "json."
"""How a column begins that is a field of the member ``.json``."""
SHOWN = 5
"""So many shards without an index are named; the others are counted."""


class Shards(Records):
    """Samples in tar files: members that have the same name up to its first dot are one.

    shards: the files, as `files_of` reads it; each has an index, ``<shard>.index``, which ``flava-parts data index``
        writes. pictures: whether samples have a picture (.jpg, .jpeg, .png or .webp). captions: the members that hold
        captions, or ``json.<field>`` for a field of the member .json; the first that has any. min_words, where: as in
        `CaptionRule`; ``where`` is about fields of the member .json. labels: the names of the classes that the
        numbers in a member .cls stand for; without them it is not read.
    Raises InputError for shards without an index and for those that have changed since it was written, before any
    sample is read.
    """

    def __init__(
        self,
        *,
        shards: str,
        pictures: bool = True,
        captions: Sequence[str] = ("json.captions", "txt"),
        min_words: int = 0,
        where: Mapping[str, str] = {},
        labels: Sequence[str] = (),
    ) -> None:
        super().__init__(shards)
        self.paths = files_of(shards)
        self._pictures = pictures
        fields = {JSON + name: value for name, value in where.items()}
        self._rule = CaptionRule(tuple(captions), min_words, fields)
        self._ends = list(accumulate(facts.samples for facts in _facts(self.paths)))
        self._opened = Opened(Shard.open, _close)
        columns = (*self._rule.columns, *self._rule.where)
        self._texts = tuple(dict.fromkeys(map(_member, columns)))
        self._classes = len(labels)

    def __len__(self) -> int:
        return self._ends[-1]

    def record(self, index: int) -> Record:
        """The record at an index; its key is the stem of its members."""
        shard, opened, sample, key = self._found(index)
        try:
            return self._record(key, opened, sample)
        except UnusableError as error:
            raise self.bad(key, error.reason, str(error), source=self.paths[shard]) from None

    def caption_lengths(self, index: int) -> Sequence[int]:
        """As `Records` has it, of the members of captions alone; nothing is read where the index says enough.

        That is where there is one such member and it is a caption, not JSON, and in an object store, where each reading
        takes its time: then it is one number, the bytes of the first member that may be a caption, else of the JSON.
        """
        _, opened, sample, _ = self._found(index)
        try:
            members = opened.index.members(sample)
            there = [name for name in dict.fromkeys(map(_member, self._rule.columns)) if name in members]
            plain = [name for name in there if name != "json"]
            if opened.file.is_remote or there == plain[:1]:
                return [members[name][1] for name in (plain or there)[:1]]
            wanted = {name: members[name] for name in self._texts if name in members}
            return list(map(len, self._rule.captions(_row(opened.read(wanted)))))
        except UnusableError:
            return ()

    def place(self, index: int) -> str:
        """The shard and the key of a sample, of which only the shard's index is read."""
        shard, _, _, key = self._found(index)
        return f"{self.paths[shard]}: {key}"

    def _found(self, index: int) -> tuple[int, Shard, int, str]:
        """The number of a sample's shard, the shard, the sample's number in it, and its key."""
        shard = bisect_right(self._ends, index)
        opened = self._opened[self.paths[shard]]
        sample = index - (self._ends[shard - 1] if shard else 0)
        return shard, opened, sample, unquote(opened.index.stems[sample], errors="surrogateescape")

    def _record(self, key: str, opened: Shard, sample: int) -> Record:
        members = opened.index.members(sample)
        picture = next(filter(members.__contains__, PICTURES), None) if self._pictures else None
        texts = [name for name in self._texts if name in members]
        if self._pictures and picture is None:
            raise UnusableError(f"has no picture, but {_listed(members)}", "missing-picture")
        if self._rule.columns and not texts:
            raise UnusableError(f"has no caption, but {_listed(members)}", "missing-caption")
        others = (picture, "cls" if self._classes else None)
        contents = opened.read({name: members[name] for name in (*texts, *others) if name in members})
        captions = self._rule.captions(_row(contents))
        return Record(
            key,
            picture=None if picture is None else contents[picture],
            captions=captions if self._rule.columns else None,
            labels=_labels(contents["cls"], self._classes) if "cls" in contents else (),
        )


def _close(shard: Shard) -> None:
    shard.file.close()


def _member(column: str) -> str:
    """The suffix of the member that holds a column."""
    return "json" if column.startswith(JSON) else column


def _facts(paths: Sequence[str]) -> list[ShardFacts]:
    """What the indexes of shards say. Raises InputError for those that are missing or do not fit their shards."""
    found: list[ShardFacts] = []
    wrong: list[str] = []
    for path in paths:
        shard = ByteFile(path)
        size = shard.size
        shard.close()
        try:
            facts = ShardFacts.read(path + SUFFIX)
        except InputError as error:
            wrong.append(f"{path}: has no index ({error})")
            continue
        if facts.bytes != size:
            wrong.append(f"{path}: has {size:,} bytes, but its index was written for {facts.bytes:,}")
        found.append(facts)
    if wrong:
        more = [f"and {len(wrong) - SHOWN:,} more"] if len(wrong) > SHOWN else []
        remedy = f"write the indexes with: flava-parts data index {' '.join(paths[:1])}{' …' if len(paths) > 1 else ''}"
        raise InputError("\n".join([*wrong[:SHOWN], *more, remedy]))
    return found


def _row(contents: Mapping[str, bytes]) -> dict[str, Any]:
    """Texts by their suffix, and the fields of .json as ``json.<field>``."""
    row: dict[str, Any] = {}
    for name, content in contents.items():
        if name in PICTURES:
            continue
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            raise UnusableError(f"its .{name} is not UTF-8", "bad-utf-8") from None
        row[name] = text
        if name == "json":
            try:
                fields: Any = json.loads(text)
            except (ValueError, RecursionError):
                raise UnusableError("its .json is no JSON", "bad-json") from None
            if isinstance(fields, dict):
                row |= {JSON + key: value for key, value in cast(dict[str, Any], fields).items()}
    return row


def _labels(content: bytes, classes: int) -> tuple[int, ...]:
    """The numbers of some of the classes. Raises UnusableError."""
    try:
        labels = tuple(map(int, content.split()))
    except ValueError:
        labels = ()
    if not labels:
        raise UnusableError(f"its .cls is {content[:20]!r}, not a number", "bad-label")
    if wrong := [label for label in labels if not 0 <= label < classes]:
        raise UnusableError(f"its .cls is {wrong[0]}, but labels are 0 to {classes - 1}", "bad-label")
    return labels


def _listed(members: Mapping[str, object]) -> str:
    return ", ".join(f".{suffix}" for suffix in members)
