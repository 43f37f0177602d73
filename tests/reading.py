"""What a process finds in sources, in a module that other processes can import."""

from __future__ import annotations

import hashlib

from flava_parts.data.sources.source import Source


def found_in(sources: dict[str, Source]) -> dict[str, list[str]]:
    """A digest of each sample of each source, read back to front."""
    return {
        name: [
            hashlib.sha256(repr(sample._replace(image=None)).encode() + bytes(sample.image)).hexdigest()
            if sample.image is not None
            else repr(sample)
            for sample in (source.sample(index) for index in reversed(range(len(source))))
        ]
        for name, source in sources.items()
    }
