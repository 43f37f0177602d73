"""`flava-parts train`: a run from a spec."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, cast

import typer

from .options import Plugins, Set, registry_with

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""

EXAMPLE = "flava.emoji"


def train(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="A run file, or a preset. Left out: the run in --out, or flava.emoji."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder. Left out: runs/NAME-DATE-TIME.", show_default=False)
    ] = None,
    resume: Annotated[str, typer.Option(help="auto: the folder's newest checkpoint; never; or a checkpoint.")] = "auto",
    changes: Set = None,
    plugins: Plugins = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compose the model without memory, and stop.")] = False,
) -> None:
    """Train a model on the data of a run spec, measure it, and draw what it learnt.

    Without arguments: the emoji run that comes with the package. Exit code 130 after Ctrl-C: a checkpoint is left.
    """
    from ..loading import load
    from ..spec import RunSpec

    if run is None:
        run = str(out / "spec.yaml") if out is not None and (out / "spec.yaml").is_file() else EXAMPLE
    registry = registry_with(plugins)
    loaded = load(run, RunSpec, registry=registry, set=changes or [])
    for warning in loaded.warnings:
        typer.echo(f"warning: {warning}", err=True)
    spec = cast(RunSpec, loaded.spec)
    if dry_run:
        from ..compose import compose

        model = compose(spec.model, device="meta", vocab=spec.data.tokenizer.vocab())
        count = sum(parameter.numel() for parameter in model.parameters())
        typer.echo(f"{run}: composes; {count:,} parameters, {spec.train.steps} steps")
        return
    from ..train.run import checkpoint_of
    from ..train.run import run as run_it

    name = Path(run).stem if run.endswith((".yaml", ".yml")) else run
    folder = out or Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    checkpoint = checkpoint_of(folder, resume)
    outcome = run_it(spec, folder, resume=checkpoint, registry=registry, log=lambda text: typer.echo(text, err=True))
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
