"""One shard: a tar file that is read by its index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .byte_file import ByteFile
from .caption_rule import UnusableError
from .shard_index import SUFFIX, ShardIndex
from .tar import BLOCK, states

COPIED = 16_384
"""Bytes that are copied in less time than the system takes for another reading."""
GAP = 65_536
"""Bytes between two members that an object store gives in less time than another answer takes."""


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
        """The contents of some of a sample's members, by the offset and size of each.

        Each is read with its header, which has to state the size that the index has. Raises UnusableError if not.
        """
        if not members:
            return {}
        whole, start = self._whole(members) if self.file.is_remote else (None, 0)
        found: dict[str, bytes] = {}
        for name, (at, size) in members.items():
            before = at - BLOCK if at > BLOCK else 0
            if whole is not None:
                header, content = whole[before - start : at - start], whole[at - start : at - start + size]
            elif size <= COPIED:
                both = self.file.read(before, at + size)
                header, content = both[:BLOCK], both[BLOCK:]
            else:
                header, content = self.file.read(before, at), self.file.read(at, at + size)
            if len(content) != size or not states(header, size):
                raise UnusableError(
                    f"its .{name} is not at byte {at}, where the index has it; write that anew with: "
                    f"flava-parts data index {self.file.path}",
                    "stale-index",
                )
            found[name] = content
        return found

    def _whole(self, members: Mapping[str, tuple[int, int]]) -> tuple[bytes | None, int]:
        """All bytes from the first header to the end of the last member, if few others lie between, and their place."""
        start, stop = max(min(members.values())[0] - BLOCK, 0), sum(max(members.values()))
        near = stop - start <= sum(size + BLOCK + GAP for _, size in members.values())
        return (self.file.read(start, stop) if near else None), start
