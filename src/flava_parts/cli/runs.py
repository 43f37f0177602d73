"""What the verbs that train have in common: where a run is kept, and how it ended."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..train.run import Outcome

INTERRUPTED = 128
"""What is added to a signal's number to be the exit code, as shells have it: 130 after Ctrl-C, 143 after SIGTERM."""

Out = Annotated[Path | None, typer.Option(help="The run's folder. Left out: runs/NAME-DATE-TIME.", show_default=False)]
Resume = Annotated[str, typer.Option(help="auto: the folder's newest checkpoint; never; or a checkpoint.")]
Allow = Annotated[
    list[str] | None,
    typer.Option(metavar="a.b", help="Let this value or block differ from the folder's spec; may be repeated."),
]


def file_of(file: str | None, out: Path | None, example: str) -> str:
    """The file that was named; else that of the run in ``out``, or the preset ``example``."""
    if file is not None:
        return file
    return str(out / "spec.yaml") if out is not None and (out / "spec.yaml").is_file() else example


def folder_of(file: str, out: Path | None) -> Path:
    """The folder that was named, or a new one, called after the file and the time."""
    name = Path(file).stem if file.endswith((".yaml", ".yml")) else file
    return out or Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def log(text: str) -> None:
    """Say something on stderr."""
    typer.echo(text, err=True)


def tell(outcome: Outcome, *, steps: int, folder: Path, verb: str, quiet: bool = False) -> None:
    """Say what a run left, or how to go on, unless ``quiet``.

    Exits with `INTERRUPTED` and the signal's number if it is not complete.
    """
    if outcome.signal is not None:
        if not quiet:
            log(
                f"interrupted after {outcome.step} of {steps} steps; the checkpoint is in {folder}\n"
                f"go on with: flava-parts {verb} --out {folder}"
            )
        raise typer.Exit(INTERRUPTED + outcome.signal)
    for picture in outcome.pictures:
        typer.echo(f"drawn: {picture}")
    if not quiet:
        typer.echo(f"the model: {folder}")
