"""One shard: a tar file that is read by its index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .byte_file import ByteFile
from .caption_rule import UnusableError
from .shard_index import SUFFIX, ShardIndex
from .tar import BLOCK, MAGIC, stated_size

GAP = 65_536
"""Bytes between two members that are read along rather than read around."""
SMALL = 16_384
"""Bytes that are copied in less time than the system takes for one more reading."""


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
        """The contents of some of a sample's members.

        Each is read with its header, which has to state the size that the index has. Raises UnusableError if not.
        """
        found: dict[str, bytes] = {}
        for name, (offset, size, header, content) in self._parts(members).items():
            # Not all of the header's sum: that takes longer than reading a small picture.
            if len(content) != size or header[MAGIC] != b"ustar" or stated_size(header) != size:
                raise UnusableError(
                    f"its .{name} is not at byte {offset}, where the index has it; write that anew with: "
                    f"flava-parts data index {self.file.path}",
                    "stale-index",
                )
            found[name] = content
        return found

    def _parts(self, members: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int, bytes, bytes]]:
        """Offset, size, header and content of each member.

        From disk each is read for itself, and a large one without its header, so that nothing large is copied twice;
        from an object store all together, if they lie close to each other, since there each reading takes its time.
        """
        if self.file.is_remote and members:
            start = min(at for at, _ in members.values()) - BLOCK
            stop = max(at + size for at, size in members.values())
            if stop - start <= sum(size for _, size in members.values()) + (BLOCK + GAP) * len(members):
                whole = self.file.read(max(start, 0), stop)
                return {
                    name: (at, size, whole[at - BLOCK - start : at - start], whole[at - start : at - start + size])
                    for name, (at, size) in members.items()
                }
        parts: dict[str, tuple[int, int, bytes, bytes]] = {}
        for name, (at, size) in members.items():
            first = max(at - BLOCK, 0)
            if size > SMALL:
                header, content = self.file.read(first, at), self.file.read(at, at + size)
            else:
                both = self.file.read(first, at + size)
                header, content = both[: at - first], both[at - first :]
            parts[name] = at, size, header, content
        return parts
