"""``flava-parts data``: look into data, and write it as shards. One file a verb."""

from __future__ import annotations

import typer

from .check import check
from .index import index
from .pack import pack
from .preview import preview
from .stats import stats
from .tokenize import tokenize

data = typer.Typer(
    help="Look into the data of a run: broken samples, counts and sizes, a sheet of pictures; write shards and codes.",
    no_args_is_help=True,
)
for verb in (index, check, stats, preview, pack, tokenize):
    data.command(verb.__name__)(verb)
