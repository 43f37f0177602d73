"""``flava-parts codebook``: codebooks by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flava_parts.cli.options import Plugins, Set, registry_with

codebook = typer.Typer(help="Codebooks by themselves.", no_args_is_help=True, rich_markup_mode=None)


@codebook.callback()
def _only_groups() -> None: ...


@codebook.command("fit")
def fit(
    run: Annotated[str, typer.Argument(metavar="FILE", help="A run file, or a preset: whose codebook, on whose data.")],
    out: Annotated[Path, typer.Option(help="The safetensors file to write.")] = Path("codebook.safetensors"),
    images: Annotated[int, typer.Option(min=1, help="Pictures of the run to fit it on, at most.")] = 2000,
    changes: Set = None,
    plugins: Plugins = None,
) -> None:
    """Fit a run's codebook on its pictures, and keep it in a file that can be named as its weights."""
    from flava_parts import load_run

    spec = load_run(run, registry=registry_with(plugins), set=changes or [])
    from .fitting import fit_of_run

    fitted = fit_of_run(spec, out, images=images)
    typer.echo(f"fitted on {fitted.images} pictures: {fitted.used} of {fitted.vocab_size} codes are used")
    if fitted.error is not None:
        typer.echo(f"pictures come back from their codes with a mean squared error of {fitted.error:.4f}")
    typer.echo(f"the codebook: {out}")
