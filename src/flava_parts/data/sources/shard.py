"""One shard: a tar file that is read by its index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .byte_file import ByteFile
from .caption_rule import UnusableError
from .shard_index import SUFFIX, ShardIndex
from .tar import BLOCK, MAGIC, stated_size

TOGETHER = 200_000
"""Bytes that are copied in less time than the system takes for two more readings."""
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
        start, stop = max(min(members.values())[0] - BLOCK, 0), sum(max(members.values()))
        most = sum(size + BLOCK + GAP for _, size in members.values()) if self.file.is_remote else TOGETHER
        whole = self.file.read(start, stop) if stop - start <= most else None
        found: dict[str, bytes] = {}
        for name, (at, size) in members.items():
            if whole is not None:
                place = at - start
                header, content = whole[place - BLOCK : place], whole[place : place + size]
            elif size <= TOGETHER:
                both = self.file.read(max(at - BLOCK, 0), at + size)
                header, content = both[:BLOCK], both[BLOCK:]
            else:
                header, content = self.file.read(max(at - BLOCK, 0), at), self.file.read(at, at + size)
            # Not all of the header's sum: that takes longer than reading a small picture.
            if len(content) != size or header[MAGIC] != b"ustar" or stated_size(header) != size:
                raise UnusableError(
                    f"its .{name} is not at byte {at}, where the index has it; write that anew with: "
                    f"flava-parts data index {self.file.path}",
                    "stale-index",
                )
            found[name] = content
        return found
