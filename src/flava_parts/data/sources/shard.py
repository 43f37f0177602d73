"""One shard: a tar file that is read by its index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .byte_file import ByteFile
from .caption_rule import UnusableError
from .shard_index import SUFFIX, ShardIndex
from .tar import BLOCK, content_size

GAP = 65_536
"""Bytes between two members that are read along rather than read around."""


@dataclass
class Shard:
    """A tar file and its index, both open."""

    file: ByteFile
    index: ShardIndex

    @classmethod
    def open(cls, path: str) -> Shard:
        """A shard with the index that lies beside it. Raises InputError."""
        return cls(ByteFile(path), ShardIndex.read(path + SUFFIX))

    @classmethod
    def scan(cls, path: str) -> Shard:
        """A shard whose index is made now and kept in memory. Raises InputError."""
        file = ByteFile(path)
        with file.stream() as stream:
            return cls(file, ShardIndex.of(stream, path, file.size))

    def read(self, members: Mapping[str, tuple[int, int]]) -> dict[str, bytes]:
        """The contents of some of a sample's members, in one reading if they lie close to each other.

        Each is read with its header, which has to state the size that the index has. Raises UnusableError if not.
        """
        places = sorted(members.values())
        if not places:
            return {}
        start, stop = places[0][0] - BLOCK, max(offset + size for offset, size in places)
        if stop - start <= sum(size for _, size in places) + (BLOCK + GAP) * len(places):
            whole = memoryview(self.file.read(max(start, 0), stop))
            parts = {
                name: whole[offset - BLOCK - start : offset - start + size] for name, (offset, size) in members.items()
            }
        else:
            parts = {
                name: memoryview(self.file.read(offset - BLOCK, offset + size))
                for name, (offset, size) in members.items()
            }
        for name, (_, size) in members.items():
            if len(parts[name]) != BLOCK + size or content_size(bytes(parts[name][:BLOCK])) != size:
                raise UnusableError(
                    f"its .{name} is not where the index has it; write that anew with: "
                    f"flava-parts data index {self.file.path}",
                    "stale-index",
                )
        return {name: bytes(part[BLOCK:]) for name, part in parts.items()}
