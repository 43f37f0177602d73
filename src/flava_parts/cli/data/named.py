"""What the verbs on data share: which source, and which of its samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import registry_with

if TYPE_CHECKING:
    from ...data.sources.source import Source
    from ...data.sources.source_file import Named

File = Annotated[
    str, typer.Argument(metavar="FILE", help="A run file or preset, or a file with a `source`, as a stream has it.")
]
Stream = Annotated[str | None, typer.Option(help="The stream of the run; left out: the only one.")]
AtMost = Annotated[
    int | None, typer.Option(min=1, help="Look at so many samples, evenly spread; left out: at all of them.")
]


def named(file: str, stream: str | None, changes: list[str] | None, plugins: list[str] | None) -> Named:
    """The source that a command names. Raises InputError, SpecError."""
    from ...data.sources.source_file import source_in

    return source_in(file, stream, registry=registry_with(plugins), set=changes or [])


def spread(source: Source, at_most: int | None) -> Iterator[int]:
    """The samples to look at."""
    count = len(source)
    some = min(count, at_most or count)
    return (position * count // some for position in range(some))
