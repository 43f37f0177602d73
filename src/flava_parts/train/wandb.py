"""The observer that tells Weights & Biases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import InputError
from .observers import Record, numbers_of


class WeightsAndBiases:
    """Logs every step and evaluation to a run of Weights & Biases that is called after the folder.

    ``offline`` writes into the folder and reaches no network; ``wandb sync`` sends that later. A run that goes on in
    the same folder goes on there. Raises InputError, when a run begins, if the package is not installed.
    """

    def __init__(self, *, folder: Path, project: str = "flava-parts", mode: str = "offline") -> None:
        self.folder = Path(folder)
        self.project = project
        self.mode = mode

    def begin(self, *, step: int, steps: int) -> None:
        """Start the run, or go on with it."""
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise InputError(f"flava.wandb needs {error.name}: pip install 'flava-parts[wandb]'") from None
        self._run: Any = wandb.init(
            project=self.project,
            name=self.folder.name,
            id=self.folder.name,
            dir=str(self.folder),
            mode=self.mode,
            resume="allow",
        )

    def stepped(self, record: Record) -> None:
        """Log its numbers at its step."""
        self._run.log(numbers_of(record), step=int(record["step"]))

    def evaluated(self, record: Record) -> None:
        """Log its numbers at its step."""
        self.stepped(record)

    def end(self) -> None:
        """Finish the run."""
        self._run.finish()
