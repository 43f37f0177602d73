"""What the verbs that use a finished model share: which model, where it runs, and how far it is."""

from __future__ import annotations

import sys
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .options import registry_with

if TYPE_CHECKING:
    from ..inputs.processor import Processor
    from ..model import FlavaForPreTraining

Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", metavar="FOLDER", help="The model: the folder of a run or of transformers, or a hub id."
    ),
]
Device = Annotated[str | None, typer.Option(help="Where it runs, as torch names it; the first GPU, if there is one.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Pictures, or texts, at once.")]

PAUSE = 10.0
"""Seconds between two plain lines."""


def opened(source: str, device: str | None, plugins: list[str] | None) -> tuple[FlavaForPreTraining, Processor]:
    """A finished model on its device, in single precision, and its processor.

    ``plugins`` are those of the command line. Raises InputError if there is no such model or device, or the model has
    no space that images and texts share.
    """
    import torch

    from ..interop.pretrained import load_pretrained, load_processor
    from ..model import FlavaForPreTraining

    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=place).tolist()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"--device {place}: {reason}") from None
    registry = registry_with(plugins)
    model = load_pretrained(source, registry=registry)
    if not isinstance(model, FlavaForPreTraining):
        raise InputError(f"{source}: holds a {type(model).__name__} alone, not a model of images and texts")
    if not any(hasattr(loss, "embed_image") for loss in model.losses.values()):
        raise InputError(f"{source}: the model has no contrastive loss, so its images and texts share no space")
    return model.to(place, torch.float32), load_processor(source, registry=registry)


class Progress:
    """A bar on stderr if that is a terminal; elsewhere a line every `PAUSE` seconds and at the end of each part."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._told = monotonic()

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                MofNCompleteColumn(),
                BarColumn(None),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                expand=True,
                redirect_stdout=sys.stdout.isatty(),
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` are done."""
        if self._bar is not None:
            if what not in self._tasks:
                self._tasks[what] = self._bar.add_task(what, total=total)
            self._bar.update(self._tasks[what], completed=done, total=total)
        elif done == total or monotonic() - self._told >= PAUSE:
            self._told = monotonic()
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)
