"""``flava-parts data check``: which samples cannot be used?"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import typer

from ..models import Progress
from ..options import Json, Plugins, Set
from ..tables import table
from .named import AtMost, File, Stream, named, spread

if TYPE_CHECKING:
    from ...data.sources.bad_sample import BadSampleError
    from ...data.sources.source import Source

SHOWN = 3
"""So many samples are named for each reason; with --json it is all of them."""


def check(
    file: File,
    stream: Stream = None,
    at_most: AtMost = None,
    changes: Set = None,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Read every sample as training would, and list by reason those that cannot be used. Exits with 1 if any."""
    from ...data.sources.bad_sample import BadSampleError

    source = named(file, stream, changes, plugins).source.build()
    bad: list[BadSampleError] = []
    indices = list(spread(source, at_most))
    with Progress() as progress:
        for number, index in enumerate(indices):
            try:
                source.sample(index)
            except BadSampleError as error:
                bad.append(error)
            progress("samples", number + 1, len(indices))
    reasons = Counter(error.reason for error in bad).most_common()
    refused = _refused(source)
    if as_json:
        samples: list[dict[str, Any]] = [
            {"source": error.source, "key": error.key, "reason": error.reason, "message": str(error)} for error in bad
        ]
        facts = {"checked": len(indices), "bad": dict(reasons), "refused": refused, "samples": samples}
        print(json.dumps(facts, indent=2))
    else:
        print(f"{len(indices)} samples, {len(bad)} of them cannot be used")
        if reasons:
            print(table(["reason", "samples"], [[reason, str(count)] for reason, count in reasons]))
        for reason, _ in reasons:
            for error in [each for each in bad if each.reason == reason][:SHOWN]:
                print(f"{reason}: {error}")
        for reason, count in refused.items():
            print(f"{count} members of shards are not used: {reason}")
    if bad or refused:
        raise typer.Exit(1)


def _refused(source: Source) -> dict[str, int]:
    """How many members of shards are not used, by reason."""
    from ...data.sources.shard_index import SUFFIX, ShardIndex
    from ...data.sources.shards import Shards

    refused: Counter[str] = Counter()
    for path in source.paths if isinstance(source, Shards) else ():
        refused.update(ShardIndex.read(path + SUFFIX).refused)
    return dict(sorted(refused.items()))
