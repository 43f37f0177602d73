"""How a step grows with ranks: ``python -m benchmarks.ranks``.

Measured with 1, 2 and 4 processes over gloo, each with a batch of its own of the same size, and what crosses the
loopback interface counted. Simulated up to 1,024 GPUs for flava.base from the planner's counts and bandwidths that are
stated below, not measured: the table says so. Writes ``ranks.md`` and ``ranks.png`` beside the other figures.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
import torch.distributed as dist

import flava_parts
from flava_parts.train.blocks import forget
from flava_parts.train.distribution import joined, spread
from flava_parts.train.planning import plans

from .scaling import FOLDER, of_pairs

MEASURED = (1, 2, 4)
SIMULATED = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
PER_GPU = 64
"""Pairs a GPU."""
RATE = 0.4 * 989e12
"""Operations a second of a GPU: two fifths of an H100's peak in bf16, NVIDIA's data sheet."""
INSIDE, BETWEEN = 450e9, 50e9
"""Bytes a second that a GPU sends: inside a machine of 8 by NVLink 4, between machines by one 400 Gb/s card a GPU."""
LATENCY = 10e-6
"""Seconds that a message takes to start. A collective has 2 log2 n, up a tree and down, as NCCL has for many ranks."""
MODEL = "a model a third as wide as flava.base, 8 pairs a process"
COLLECTIVES = 50
"""Buckets of gradients and gathers that a step sends, about."""


class Point(NamedTuple):
    """A step with so many ranks."""

    ranks: int
    seconds: float
    sent: float
    """Bytes that a rank sends."""


def worker(rounds: int) -> None:
    """One of the processes: time steps; rank 0 prints the median and what all ranks sent a step."""
    torch.set_num_threads(1)
    with joined():
        model, inputs = of_pairs()
        forget(model)
        trained = spread(model, "ddp")
        seconds: list[float] = []
        before = 0
        for number in range(rounds + 1):  # the first one sets up connections and buckets
            if number == 1:
                before = psutil.net_io_counters(pernic=True)["lo"].bytes_sent
            model.zero_grad(set_to_none=True)
            start = time.perf_counter()
            loss = trained.forward(**inputs, output_states=False).loss
            loss.backward()
            if dist.is_initialized():
                dist.barrier()
            seconds.append(time.perf_counter() - start)
        sent = psutil.net_io_counters(pernic=True)["lo"].bytes_sent - before
        if not dist.is_initialized() or not dist.get_rank():
            print(json.dumps([statistics.median(seconds[1:]), sent / rounds]))


def measured(ranks: int, rounds: int) -> Point:
    """A step with so many processes of this machine."""
    launch = ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m"] if ranks > 1 else []
    command = [sys.executable, "-m", *launch, "benchmarks.ranks", "--worker", "--rounds", str(rounds)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, sent = json.loads(printed.splitlines()[-1])
    return Point(ranks, seconds, sent / ranks)


WIDTH = 768
"""Of the contrastive loss's projections."""


def expected_bytes(ranks: int) -> float:
    """What a rank sends in a ring: of all gradients 2 (n - 1) / n, and its two embeddings to each of the others."""
    model, inputs = of_pairs()
    gradients = 4 * sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    embeddings = 2 * 4 * len(inputs["input_ids"]) * WIDTH
    return 2 * (ranks - 1) / ranks * gradients + (ranks - 1) * 3 * embeddings


def simulated(preset: str, gpus: int) -> tuple[Point, Point]:
    """A step of ``PER_GPU`` pairs a GPU by DDP: if sending waits for the backward pass, and if all but the last bucket
    is sent meanwhile."""
    spec = flava_parts.load_spec(preset)
    plan = next(
        plan
        for plan in plans(spec, gpus=gpus, batch_size=gpus * PER_GPU, words=77, precision="bf16")
        if plan.parallel == "ddp" and not plan.recompute
    )
    logits = 12 * PER_GPU * (gpus - 1) * PER_GPU * WIDTH  # against the others' rows, both ways, forward and twice back
    computing = (plan.operations + logits) / RATE
    sending = plan.communication / (INSIDE if gpus <= 8 else BETWEEN) + COLLECTIVES * 2 * math.log2(gpus) * LATENCY
    beside = max(computing, computing / 3 + sending) if gpus > 1 else computing
    return Point(gpus, computing + sending, plan.communication), Point(gpus, beside, plan.communication)


def table(found: Sequence[Point], apart: Sequence[Point], beside: Sequence[Point]) -> str:
    """Both as Markdown."""
    alone, together = found[0], found[1]
    pace = together.sent / max(together.seconds - alone.seconds, 1e-9) / 1e6
    lines = [
        f"Measured: gloo on {os.cpu_count()} cores, a thread a process, {MODEL}. With two processes {pace:.0f} MB a",
        "second are sent in the time that a step takes longer; more processes than cores also wait for each other.",
        "",
        "| processes | seconds a step | MB that a process sends, counted | by formula |",
        "| --- | --- | --- | --- |",
    ]
    for point in found:
        by_formula = expected_bytes(point.ranks) / 1e6
        lines.append(f"| {point.ranks} | {point.seconds:.3g} | {point.sent / 1e6:.4g} | {by_formula:.4g} |")
    lines += [
        "",
        f"Simulated: flava.base, bf16, DDP, {PER_GPU} pairs a GPU. Assumed: {RATE:.3g} operations a second;",
        f"{INSIDE / 1e9:.0f} GB/s inside a machine of 8 and {BETWEEN / 1e9:.0f} GB/s between machines;",
        f"{LATENCY * 1e6:.0f} microseconds a message, 2 log2 n of them in each of {COLLECTIVES} collectives a step.",
        "Apart: sending waits for the backward pass; beside: it goes on meanwhile, which takes two thirds of a step.",
        "",
        "| GPUs | GB that a GPU sends | seconds apart | seconds beside | pairs a second beside | of linear |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one, other in zip(apart, beside, strict=True):
        rate, linear = one.ranks * PER_GPU / other.seconds, beside[0].seconds / other.seconds
        cells = (one.ranks, f"{one.sent / 1e9:.3g}", f"{one.seconds:.3g}", f"{other.seconds:.3g}")
        lines.append(f"| {' | '.join(map(str, cells))} | {rate:,.0f} | {linear:.0%} |")
    return "\n".join(lines) + "\n"


def draw(apart: Sequence[Point], beside: Sequence[Point], path: Path) -> None:
    """Pairs a second against GPUs."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panel = plt.subplots(figsize=(6, 4))
    gpus = [point.ranks for point in apart]
    for points, label in ((apart, "sending apart"), (beside, "sending beside the backward pass")):
        panel.plot(gpus, [p.ranks * PER_GPU / p.seconds for p in points], marker="o", label=label)
    one = PER_GPU / beside[0].seconds
    panel.plot(gpus, [count * one for count in gpus], linestyle=":", color="grey", label="linear")
    panel.set_xscale("log", base=2)
    panel.set_yscale("log", base=2)
    panel.set_xlabel("GPUs")
    panel.set_ylabel("pairs a second, simulated")
    panel.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    """Measure, simulate and write, or, with ``--worker``, be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="two processes, two GPUs, once")
    parser.add_argument("--out", type=Path, default=FOLDER)
    asked = parser.parse_args()
    if asked.worker:
        worker(asked.rounds)
        return
    short = slice(2 if asked.smoke else None)
    found = [measured(ranks, 1 if asked.smoke else asked.rounds) for ranks in MEASURED[short]]
    preset = "flava.tiny" if asked.smoke else "flava.base"
    apart, beside = zip(*(simulated(preset, gpus) for gpus in SIMULATED[short]), strict=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "ranks.md").write_text(table(found, apart, beside))
    draw(apart, beside, asked.out / "ranks.png")
    print((asked.out / "ranks.md").read_text())


if __name__ == "__main__":
    main()
