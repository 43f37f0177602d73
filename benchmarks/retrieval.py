"""Retrieval among many vectors, both ways: time and memory. ``python benchmarks/retrieval.py [PAIRS] [WIDTH]``."""

from __future__ import annotations

import sys
import time

import torch
from torch.nn import functional as F

from flava_parts.evaluate.retrieval import recall
from flava_parts.train.resident import resident_peak

PAIRS, WIDTH = 100_000, 768


def main() -> None:
    """Print how long recall at 1, 5 and 10 takes, and the most memory that the whole process held."""
    pairs, width = (*map(int, sys.argv[1:]), *(PAIRS, WIDTH)[len(sys.argv) - 1 :])
    torch.manual_seed(0)
    image = F.normalize(torch.randn(pairs, width), dim=1)
    text = F.normalize(image + 5 / width**0.5 * torch.randn(pairs, width), dim=1)
    groups = torch.arange(pairs)
    start = time.perf_counter()
    record = recall(image, text, groups, groups)
    seconds = time.perf_counter() - start
    peak = resident_peak() / 2**30
    print(f"{pairs:,} x {pairs:,} vectors of {width}, both ways, {torch.get_num_threads()} threads")
    print(f"{seconds:.0f} s, {peak:.2f} GiB at the most, of which the vectors are {2 * image.nbytes / 2**30:.2f}")
    print("  ".join(f"{name} {share:.1%}" for name, share in record.items()))


if __name__ == "__main__":
    main()
