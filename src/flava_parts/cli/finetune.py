"""`flava-parts finetune`: teach a pretrained model to answer."""

from __future__ import annotations

import json
from typing import Annotated, cast

import typer

from .options import Plugins, Set, registry_with
from .runs import Allow, Out, Resume, file_of, folder_of, log, tell

EXAMPLE = "flava.emoji_groups"


def finetune(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]",
            help="A fine-tuning file, or a preset. Left out: the one in --out, or flava.emoji_groups.",
        ),
    ] = None,
    pretrained: Annotated[
        str | None, typer.Option("--from", metavar="FOLDER", help="The pretrained model, in place of the file's.")
    ] = None,
    out: Out = None,
    resume: Resume = "auto",
    allow: Allow = None,
    changes: Set = None,
    plugins: Plugins = None,
) -> None:
    """Train a head, and the pretrained model below it, on labelled data, and measure it on held-out samples.

    Ctrl-C, SIGTERM and SIGUSR1 leave a checkpoint; the exit code is then 130, 143 or 138.
    """
    from ..errors import SpecError
    from ..loading import load
    from ..messages import placed
    from ..spec import FinetuneSpec

    file = file_of(file, out, EXAMPLE)
    registry = registry_with(plugins)
    changes = list(changes or []) + ([f"pretrained={json.dumps(pretrained)}"] if pretrained is not None else [])
    loaded = load(file, FinetuneSpec, registry=registry, set=changes)
    spec = cast(FinetuneSpec, loaded.spec)
    for warning in loaded.warnings:
        if warning.loc != ("pretrained",):  # which is an error now
            log(f"warning: {warning}")
    from ..train.finetune import finetune as run_it

    folder = folder_of(file, out)
    try:
        outcome = run_it(spec, folder, resume=resume, allow=allow or (), registry=registry, log=log)
    except SpecError as error:
        raise SpecError(placed(problem, loaded.tree) for problem in error.problems) from None
    tell(outcome, steps=spec.train.steps, folder=folder, verb="finetune")
