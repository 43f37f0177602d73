"""Time block masks side by side with transformers' generator: ``python benchmarks/maskers.py``."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from transformers.models.flava.image_processing_flava import FlavaMaskingGenerator

from flava_parts.facts import Grid
from flava_parts.maskers.block import BlockMasker

BATCH = 256
ROUNDS = 15


def microseconds(draw: Callable[[], object], masks: int) -> float:
    """How long ``draw``, which draws ``masks`` masks, takes for one."""
    start = time.perf_counter()
    draw()
    return (time.perf_counter() - start) / masks * 1e6


def main() -> None:
    """Print microseconds a mask, and the ratio, as medians of interleaved rounds."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    theirs = FlavaMaskingGenerator()
    ours = {
        "published": BlockMasker(grid=Grid(14, 14)),
        "exact": BlockMasker(grid=Grid(14, 14), exact=True),
    }
    for masker in ours.values():
        masker(BATCH, generator)
    peer: list[float] = []
    own: dict[str, list[float]] = {name: [] for name in ours}
    for _ in range(ROUNDS):
        peer.append(microseconds(lambda: [theirs() for _ in range(BATCH)], BATCH))
        for name, masker in ours.items():
            own[name].append(
                microseconds(lambda masker=masker: [masker(BATCH, generator) for _ in range(8)], 8 * BATCH)
            )
    base = statistics.median(peer)
    print(f"75 of 14x14 patches, batches of {BATCH}, one thread, medians of {ROUNDS} rounds")
    print(f"transformers  {base:8.1f} us a mask")
    for name, times in own.items():
        median = statistics.median(times)
        print(f"{name:<12}  {median:8.1f} us a mask  {base / median:5.1f} x faster")


if __name__ == "__main__":
    main()
