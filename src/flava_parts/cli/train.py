"""`flava-parts train`: a run from a spec."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""

EXAMPLE = "flava.emoji"


def train(
    run: Annotated[
        str | None, typer.Argument(help="A run's YAML file, or a preset. Left out: the run in --out, or flava.emoji.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder. Left out: runs/NAME-DATE-TIME.", show_default=False)
    ] = None,
    resume: Annotated[str, typer.Option(help="auto: the folder's newest checkpoint; never; or a checkpoint.")] = "auto",
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Change a value; applied last.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compose the model without memory, and stop.")] = False,
) -> None:
    """Train a model on the data of a run spec, measure it, and draw what it learnt.

    Without arguments: the emoji run that comes with the package. Exit code 130 after Ctrl-C: a checkpoint is left.
    """
    from ..loading import load_run

    if run is None:
        run = str(out / "spec.yaml") if out is not None and (out / "spec.yaml").is_file() else EXAMPLE
    spec = load_run(run, set=changes or ())
    if dry_run:
        from ..compose import compose

        model = compose(spec.model, device="meta", vocab=spec.data.tokenizer.vocab())
        count = sum(parameter.numel() for parameter in model.parameters())
        typer.echo(f"{run}: composes; {count:,} parameters, {spec.train.steps} steps")
        return
    from ..train.run import checkpoint_of
    from ..train.run import run as run_it

    folder = (
        out
        or Path("runs") / f"{Path(run).stem if run.endswith(('.yaml', '.yml')) else run}-{datetime.now():%Y%m%d-%H%M%S}"
    )
    outcome = run_it(spec, folder, resume=checkpoint_of(folder, resume), log=lambda text: typer.echo(text, err=True))
    if not outcome.complete:
        typer.echo(
            f"interrupted after {outcome.step} of {spec.train.steps} steps; the checkpoint is in {folder}\n"
            f"go on with: flava-parts train --out {folder}",
            err=True,
        )
        raise typer.Exit(INTERRUPTED)
    for picture in outcome.pictures:
        typer.echo(f"drawn: {picture}")
    typer.echo(f"the model: {folder}")
