"""`flava-parts train`: a run from a spec."""

from __future__ import annotations

from typing import Annotated, cast

import typer

from ..errors import InputError
from .options import Plugins, Set, registry_with
from .runs import Allow, Out, Resume, file_of, folder_of, log, tell

EXAMPLE = "flava.emoji"


def train(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="A run file, or a preset. Left out: the run in --out, or flava.emoji."),
    ] = None,
    out: Out = None,
    resume: Resume = "auto",
    allow: Allow = None,
    changes: Set = None,
    plugins: Plugins = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compose the model without memory, and stop.")] = False,
) -> None:
    """Train a model on the data of a run spec, measure it, and draw what it learnt.

    Without arguments: the emoji run that comes with the package. Ctrl-C, SIGTERM and SIGUSR1 leave a checkpoint; the
    exit code is then 130, 143 or 138.
    """
    from ..loading import load
    from ..spec import RunSpec

    run = file_of(run, out, EXAMPLE)
    registry = registry_with(plugins)
    loaded = load(run, RunSpec, registry=registry, set=changes or [])
    for warning in loaded.warnings:
        log(f"warning: {warning}")
    spec = cast(RunSpec, loaded.spec)
    if dry_run:
        from ..compose import compose

        model = compose(spec.model, device="meta", vocab=spec.data.tokenizer.vocab())
        count = sum(parameter.numel() for parameter in model.parameters())
        typer.echo(f"{run}: composes; {count:,} parameters, {spec.train.steps} steps")
        return
    from ..train.distribution import launched, own_rank
    from ..train.run import run as run_it

    if launched() > 1 and out is None:
        raise InputError("--out is needed: the processes, and those that take their place, have one folder")
    folder = folder_of(run, out)
    outcome = run_it(spec, folder, resume=resume, allow=allow or (), registry=registry, log=log)
    tell(outcome, steps=spec.train.steps, folder=folder, verb="train", quiet=own_rank() > 0)
