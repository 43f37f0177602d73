"""``flava-parts data pack``: shards from any source."""

from __future__ import annotations

import sys
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import Plugins, Set
from .named import File, Stream, named

if TYPE_CHECKING:
    from ...data.sources.bad_sample import BadSampleError


class OnError(StrEnum):
    """What becomes of a sample that cannot be used."""

    SKIP = "skip"
    RAISE = "raise"


def pack(
    file: File,
    out: Annotated[Path, typer.Option(help="The folder to write to; it holds no shards yet.")],
    stream: Stream = None,
    shard_mb: Annotated[int, typer.Option(min=1, help="A shard of so many megabytes is full.")] = 500,
    on_error: Annotated[
        OnError, typer.Option(help="A sample that cannot be used: leave it out and say so, or stop.")
    ] = OnError.SKIP,
    changes: Set = None,
    plugins: Plugins = None,
) -> None:
    """Write all samples of a source as shards with indexes; reading them gives the same samples.

    Pictures are copied as they are, all captions of a sample are kept. What cannot be used is left out, and so is what
    the filters of a source do not want.
    """
    from ...data.sources.shard_writer import write_shards

    bad: Counter[str] = Counter()

    def tell(error: BadSampleError) -> None:
        if on_error is OnError.RAISE:
            raise error
        bad[error.reason] += 1

    source = named(file, stream, changes, plugins).source.build()
    count, shards = write_shards(source, out, shard_bytes=shard_mb * 1_000_000, bad=tell)
    for reason, number in bad.most_common():
        print(f"left out: {number} samples, {reason}", file=sys.stderr)
    print(f"{count} samples in {len(shards)} shards: {out}/shard-*.tar")
