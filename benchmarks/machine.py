"""What the figures were measured on, and the fastest that its matrix products go."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import torch
import transformers

import flava_parts
from flava_parts.train.precision import product_seconds


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


def matrix_product_rate(side: int, seconds: float) -> float:
    """Operations per second of products of square float32 matrices on the CPU, kept up for as long as a step takes."""
    first, second = torch.randn(2, side, side, generator=torch.Generator().manual_seed(0))
    torch.mm(first, second)
    start, count = time.perf_counter(), 0
    while (taken := time.perf_counter() - start) < seconds:
        torch.mm(first, second)
        count += 1
    return 2 * side**3 * count / taken


def matrix_product_peak(side: int = 2048, dtype: torch.dtype = torch.float32, device: str = "cpu") -> float:
    """Operations per second of a product of square matrices, the fastest of several."""
    return 2 * side**3 / product_seconds(dtype, torch.device(device), side, repeats=15)
