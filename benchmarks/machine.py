"""What the figures were measured on, and the fastest that its matrix products go."""

from __future__ import annotations

import platform
import statistics
import time
from pathlib import Path

import torch
import transformers

import flava_parts


def machine() -> dict[str, str]:
    """Processor, threads and library versions."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "flava_parts": flava_parts.__version__,
    }


def matrix_product_peak(size: int = 2048, rounds: int = 15) -> float:
    """Operations per second of a square float32 matrix product, the median of several."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    seconds: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(seconds)


def peak_resident() -> float:
    """GiB that this process held at most. (What getrusage says begins with what its parent held.)"""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**20
    raise RuntimeError("/proc/self/status does not tell the peak of resident memory")
