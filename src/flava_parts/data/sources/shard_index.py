"""The index of a shard: which samples a tar file holds, and where each of their members lies.

It stands beside the shard as ``<shard>.index``, a safetensors file, so that it holds numbers and names, nothing else.
It is mapped into memory rather than read: processes share it, and only what is looked at costs memory.
"""

from __future__ import annotations

import json
import mmap
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from ...errors import InputError
from .byte_file import ByteFile, check_kind
from .caption_rule import UnusableError
from .strings import Strings
from .tar import members_of

SUFFIX = ".index"
"""What is put behind the name of a shard."""
MAX_SUFFIXES = 65_535
FORMAT = "flava_parts.shard_index.1"

_ARRAYS = {
    "offsets": np.int64,
    "sizes": np.uint32,
    "suffixes": np.uint16,
    "firsts": np.int64,
    "stems": np.uint8,
    "stem_ends": np.int64,
}
_DTYPES = {"I64": np.int64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8}


@dataclass(frozen=True)
class ShardIndex:
    """N samples of a tar file in the WebDataset layout: files that have the same name up to its first dot are one.

    stems: the N names. firsts: (N + 1,), sample i has the members from ``firsts[i]`` up to ``firsts[i + 1]``.
    offsets, sizes, suffixes: of M members, each suffix a position in ``names``. bytes: the size of the whole file.
    refused: how many members are not used, by reason.
    """

    stems: Strings
    firsts: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.uint32]
    suffixes: NDArray[np.uint16]
    names: tuple[str, ...]
    bytes: int
    refused: Mapping[str, int]

    @classmethod
    def of(cls, file: BinaryIO, path: str, size: int) -> ShardIndex:
        """The index of an opened tar file of so many bytes. Raises InputError, as `members_of` does.

        Of members with equal names the first counts, the others are refused as ``duplicate-name``.
        """
        numbers: dict[str, int] = {}
        suffixes: dict[str, int] = {}
        found: dict[str, array[int]] = {name: array("q") for name in ("samples", "offsets", "sizes", "suffixes")}
        seen: set[tuple[int, int]] = set()
        refused: Counter[str] = Counter()
        for member in members_of(file, path):
            folder, slash, name = member.name.rpartition("/")
            stem, _, suffix = name.partition(".")
            reason = member.refused
            if reason is None:
                place = (
                    numbers.setdefault(folder + slash + stem, len(numbers)),
                    suffixes.setdefault(suffix.lower(), len(suffixes)),
                )
                reason = "duplicate-name" if place in seen else None
                seen.add(place)
                if len(suffixes) > MAX_SUFFIXES:
                    raise InputError(f"{path}: its files have more than {MAX_SUFFIXES:,} different suffixes")
                if reason is None:
                    for key, value in zip(found, (place[0], member.offset, member.size, place[1]), strict=True):
                        found[key].append(value)
            if reason is not None:
                refused[reason] += 1
        samples = np.array(found["samples"], dtype=np.int64)
        order = np.argsort(samples, kind="stable")  # a sample's members mostly lie together, but need not
        return cls(
            stems=Strings.of(numbers),
            firsts=np.searchsorted(samples[order], np.arange(len(numbers) + 1)).astype(np.int64),
            offsets=np.array(found["offsets"], dtype=np.int64)[order],
            sizes=np.array(found["sizes"], dtype=np.uint32)[order],
            suffixes=np.array(found["suffixes"], dtype=np.uint16)[order],
            names=tuple(suffixes),
            bytes=size,
            refused=dict(sorted(refused.items())),
        )

    def __len__(self) -> int:
        return len(self.stems)

    def members(self, sample: int) -> dict[str, tuple[int, int]]:
        """Offset and size of each member of a sample, by suffix. Raises UnusableError if the index is damaged."""
        names, suffixes, offsets, sizes = self.names, self.suffixes.item, self.offsets.item, self.sizes.item
        try:
            return {
                names[suffixes(member)]: (offsets(member), sizes(member))
                for member in range(self.firsts.item(sample), self.firsts.item(sample + 1))
            }
        except IndexError:
            raise UnusableError(
                "its shard's index is damaged; write that anew with: flava-parts data index", "stale-index"
            ) from None

    def to_bytes(self) -> bytes:
        """The index as a safetensors file."""
        arrays = {
            "offsets": self.offsets,
            "sizes": self.sizes,
            "suffixes": self.suffixes,
            "firsts": self.firsts,
            "stems": self.stems.content,
            "stem_ends": self.stems.ends,
        }
        facts = {
            "format": FORMAT,
            "bytes": str(self.bytes),
            "samples": str(len(self)),
            "names": json.dumps(self.names),
            "refused": json.dumps(self.refused),
        }
        return save(arrays, metadata=facts)

    @classmethod
    def read(cls, path: str) -> ShardIndex:
        """The index in a file, mapped into memory; one in an object store is read. Raises InputError."""
        facts, table, start = _head(path)
        file = ByteFile(path)
        if file.is_remote:
            content: Any = file.read(0, file.size)
        else:
            with file.stream() as opened:
                content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            arrays = {name: _array(content, table[name], start, dtype) for name, dtype in _ARRAYS.items()}
            index = cls(
                stems=Strings(arrays["stems"], arrays["stem_ends"]),
                firsts=arrays["firsts"],
                offsets=arrays["offsets"],
                sizes=arrays["sizes"],
                suffixes=arrays["suffixes"],
                names=tuple(map(str, json.loads(facts["names"]))),
                bytes=int(facts["bytes"]),
                refused={str(reason): int(count) for reason, count in json.loads(facts["refused"]).items()},
            )
            same = {len(index.offsets), len(index.sizes), len(index.suffixes)}
            if len(same) != 1 or len(index.firsts) != len(index) + 1 or len(index) != int(facts["samples"]):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise _no_index(path) from error
        return index


@dataclass(frozen=True)
class ShardFacts:
    """What the head of an index says: how many samples there are, and how large the shard was."""

    samples: int
    bytes: int

    @classmethod
    def read(cls, path: str) -> ShardFacts:
        """Of the index in a file, without the rest of it. Raises InputError if it is none."""
        facts, _, _ = _head(path)
        try:
            return cls(int(facts["samples"]), int(facts["bytes"]))
        except (ValueError, KeyError, TypeError) as error:
            raise _no_index(path) from error


MAX_HEAD = 8_000_000
"""Bytes of the head of an index, which holds all suffixes."""


def _head(path: str) -> tuple[dict[str, Any], dict[str, Any], int]:
    """What a safetensors file says of itself, of its tensors, and where their bytes begin."""
    file = ByteFile(path)
    try:
        length = int.from_bytes(file.read(0, 8), "little")
        head: Any = json.loads(file.read(8, 8 + length)) if length <= MAX_HEAD else {}
        facts = head.pop("__metadata__", {})
        if facts.get("format") != FORMAT:
            raise _no_index(path)
    except (ValueError, AttributeError, RecursionError) as error:
        raise _no_index(path) from error
    finally:
        file.close()
    return facts, head, 8 + length


def _array(content: Any, entry: Any, start: int, dtype: type[np.generic]) -> NDArray[Any]:
    first, last = (int(place) for place in entry["data_offsets"])
    count = (last - first) // np.dtype(dtype).itemsize
    if _DTYPES.get(entry["dtype"]) is not dtype or not 0 <= first <= last:
        raise ValueError
    return np.frombuffer(content, dtype=dtype, count=count, offset=start + first) if count else np.empty(0, dtype)


def _no_index(path: str) -> InputError:
    shard = path.removesuffix(SUFFIX)
    return InputError(f"{path}: is no index of a shard; write it anew with: flava-parts data index {shard}")


def write_index(path: str) -> ShardIndex:
    """Read a shard, write its index beside it in one step, and give it back. Raises InputError."""
    shard = ByteFile(path)
    if not shard.is_remote:
        check_kind(path)
    with shard.stream() as file:
        index = ShardIndex.of(file, path, shard.size)
    shard.close()
    ByteFile(path + SUFFIX).replace(index.to_bytes())
    return index
