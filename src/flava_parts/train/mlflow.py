"""The observer that tells MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import InputError
from .observers import Record, numbers_of


class MLflow:
    """Logs every step and evaluation to a run of MLflow that is called after the folder.

    Without an ``address`` the numbers go into a database in the folder, ``mlflow.db``, and reach no network. Raises
    InputError, when a run begins, if the package is not installed.
    """

    def __init__(self, *, folder: Path, experiment: str = "flava-parts", address: str | None = None) -> None:
        self.folder = Path(folder)
        self.experiment = experiment
        self.address = address

    def begin(self, *, step: int, steps: int) -> None:
        """Start the run."""
        try:
            import mlflow  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise InputError(f"flava.mlflow needs {error.name}: pip install 'flava-parts[mlflow]'") from None
        self._mlflow: Any = mlflow
        mlflow.set_tracking_uri(self.address or f"sqlite:///{self.folder.absolute() / 'mlflow.db'}")
        mlflow.set_experiment(self.experiment)
        mlflow.start_run(run_name=self.folder.name)

    def stepped(self, record: Record) -> None:
        """Log its numbers at its step."""
        self._mlflow.log_metrics(numbers_of(record), step=int(record["step"]))

    def evaluated(self, record: Record) -> None:
        """Log its numbers at its step."""
        self.stepped(record)

    def end(self) -> None:
        """End the run."""
        self._mlflow.end_run()
