"""The observer that tells Trackio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import InputError
from .observers import Record, numbers_of


class Trackio:
    """Logs every step and evaluation to a run of Trackio that is called after the folder.

    Trackio keeps its database on this machine, and shows it with ``trackio show``. Raises InputError, when a run
    begins, if the package is not installed.
    """

    def __init__(self, *, folder: Path, project: str = "flava-parts") -> None:
        self.folder = Path(folder)
        self.project = project

    def begin(self, *, step: int, steps: int) -> None:
        """Start the run, or go on with it."""
        try:
            import trackio  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise InputError(f"flava.trackio needs {error.name}: pip install 'flava-parts[trackio]'") from None
        self._run: Any = trackio.init(project=self.project, name=self.folder.name, resume="allow")

    def stepped(self, record: Record) -> None:
        """Log its numbers at its step."""
        self._run.log(numbers_of(record), step=int(record["step"]))

    def evaluated(self, record: Record) -> None:
        """Log its numbers at its step."""
        self.stepped(record)

    def end(self) -> None:
        """Finish the run."""
        self._run.finish()
