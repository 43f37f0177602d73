"""How fast a run is, as a share of how fast the machine multiplies, and how much memory it took."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch.utils.flop_counter import FlopCounterMode

from .precision import product_seconds
from .resident import resident_peak

CPU_SIDE, CUDA_SIDE = 768, 8192
"""The peak is measured by a product of square matrices of this side."""


class Throughput:
    """Counts the operations of the first update of each stream, and compares each update's time with the peak's.

    Later updates of a stream are taken to be as large as its first. Activations that are computed again count again.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._device = device
        side = CUDA_SIDE if device.type == "cuda" else CPU_SIDE
        self.peak = 2 * side**3 / product_seconds(dtype, device, side)
        """Operations a second of a large product of matrices: multiplications and additions."""
        self.operations: dict[str, int] = {}
        """Of forward and backward pass, by stream."""

    @contextmanager
    def counting(self, stream: str) -> Generator[None]:
        """Count what is computed in here, if this stream was not counted yet."""
        if stream in self.operations:
            yield
            return
        with FlopCounterMode(display=False) as counter:
            yield
        self.operations[stream] = counter.get_total_flops()

    def share(self, stream: str, seconds: float) -> float:
        """The share of the peak that an update of this stream reached (model FLOPs utilisation)."""
        return self.operations[stream] / seconds / self.peak

    def memory(self) -> int:
        """The most memory in bytes so far: of the process, or of its tensors on a CUDA device."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return resident_peak()
