"""``flava-parts data index``: where the samples of shards lie."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Annotated

import typer

from ..models import Progress
from ..options import Json


def index(
    shards: Annotated[
        list[str], typer.Argument(metavar="SHARD...", help="Tar files, or patterns: 'cc3m/{00000..00331}.tar'.")
    ],
    as_json: Json = False,
) -> None:
    """Write the index of each shard beside it, in place of one that is there. Exits with 1 if a shard is broken."""
    from ...data.sources.patterns import files_of
    from ...data.sources.shard_index import write_index
    from ...errors import InputError

    paths = [path for pattern in shards for path in files_of(pattern)]
    samples, refused, broken = 0, Counter[str](), dict[str, str]()
    with Progress() as progress:
        for number, path in enumerate(paths):
            try:
                found = write_index(path)
            except InputError as error:
                broken[path] = str(error)
            else:
                samples += len(found)
                refused.update(found.refused)
            progress("shards", number + 1, len(paths))
    if as_json:
        facts = {"shards": len(paths) - len(broken), "samples": samples, "refused": refused, "broken": broken}
        print(json.dumps(facts, indent=2))
    else:
        for message in broken.values():
            print(message, file=sys.stderr)
        print(f"{len(paths) - len(broken)} shards, {samples} samples")
        for reason, count in sorted(refused.items()):
            print(f"{count} members are not used: {reason}")
    if broken:
        raise typer.Exit(1)
