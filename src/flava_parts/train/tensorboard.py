"""The observer that writes curves for TensorBoard."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from .observers import Record, numbers_of


class TensorBoard:
    """Writes every number of every step and evaluation into ``tensorboard`` in the run's folder.

    Raises InputError, when a run begins, if TensorBoard is not installed.
    """

    def __init__(self, *, folder: Path) -> None:
        self.path = Path(folder) / "tensorboard"

    def begin(self, *, step: int, steps: int) -> None:
        """Open a file of events; what was written after ``step`` is not shown any more."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError(f"flava.tensorboard needs {error.name}: pip install 'flava-parts[tensorboard]'") from None
        self._writer = SummaryWriter(str(self.path), purge_step=step + 1)

    def stepped(self, record: Record) -> None:
        """Add a point to each curve."""
        for name, value in numbers_of(record).items():
            self._writer.add_scalar(name, value, int(record["step"]))

    def evaluated(self, record: Record) -> None:
        """Add a point to each curve, and see that all are on the disk."""
        self.stepped(record)
        self._writer.flush()

    def end(self) -> None:
        """Close the file."""
        self._writer.close()
