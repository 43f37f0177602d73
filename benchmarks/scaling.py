"""How time and memory of a step grow with what it is given: ``python -m benchmarks.scaling``.

Each point is a process of its own, so that its peak memory is its own. Writes the figure and the table that
docs/performance.md shows, with the exponents that fit: time and memory as a power of the size, from the larger half.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

import flava_parts
from flava_parts.facts import Streams
from flava_parts.losses.contrastive import GlobalContrastive
from flava_parts.model import FlavaForPreTraining
from flava_parts.train.blocks import forget
from flava_parts.train.resident import resident_peak

FOLDER = Path(__file__).parents[1] / "docs" / "performance"
AXES: Mapping[str, Sequence[int]] = {
    "batch": (1, 2, 4, 8, 16, 32),
    "words": (16, 32, 64, 128, 256, 512),
    "image side": (64, 96, 128, 192, 256, 384),
    "depth": (1, 2, 4, 8, 12),
    "contrastive batch": (1024, 2048, 4096, 8192, 16384),
    "contrastive batch, chunked": (1024, 2048, 4096, 8192, 16384, 32768, 65536),
}
CHUNK = 1024
"""Rows of the logits that are held at once."""


def of_pairs(
    *, batch: int = 8, words: int = 32, side: int = 128, depth: int = 4
) -> tuple[FlavaForPreTraining, dict[str, Tensor]]:
    """A model a third as wide as flava.base, and pairs with stored codes for it."""
    tower = ("width=256", "heads=4", f"depth={depth}")
    changes = [f"{part}.{choice}" for part in ("image_encoder", "text_encoder", "fusion") for choice in tower]
    changes += [
        f"image_encoder.image_size={side}",
        f"codebook={{type: flava.kmeans, image_size: {side // 2}, patch_size: 8, vocab_size: 1024}}",
        f"image_masker={{type: flava.random, total: {(side // 16) ** 2 * 2 // 5}}}",
    ]
    model = flava_parts.compose(flava_parts.load_spec("flava.base", set=changes)).train()
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "pixel_values": torch.randn(batch, 3, side, side, generator=generator),
        "mim_labels": torch.randint(1024, (batch, (side // 16) ** 2), generator=generator),
        "input_ids": torch.randint(1000, 30000, (batch, words), generator=generator),
        "itm_labels": torch.ones(batch, dtype=torch.long),
    }
    return model, model.mask(inputs, generator)


def training_step(**sizes: int) -> Callable[[], object]:
    """Forward and backward of all losses of what `of_pairs` gives."""
    model, inputs = of_pairs(**sizes)
    forget(model)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        loss = model(**inputs, output_states=False).loss
        loss.backward()

    return step


def contrastive_step(size: int, *, chunk: int | None) -> Callable[[], object]:
    """Forward and backward of the contrastive loss alone, on summaries of a width of 64."""
    loss = GlobalContrastive(image_width=64, text_width=64, projection=64, chunk_size=chunk)
    image, text = (torch.randn(size, 64, requires_grad=True) for _ in range(2))

    def step() -> None:
        loss.zero_grad(set_to_none=True)
        loss({Streams.IMAGE_SUMMARY: image, Streams.TEXT_SUMMARY: text}).value.backward()

    return step


def point(axis: str, size: int, rounds: int) -> dict[str, float]:
    """Median seconds, and GiB that the process came to hold beyond what it held before the first step."""
    steps: dict[str, Callable[[], Callable[[], object]]] = {
        "batch": lambda: training_step(batch=size),
        "words": lambda: training_step(words=size),
        "image side": lambda: training_step(side=size),
        "depth": lambda: training_step(depth=size),
        "contrastive batch": lambda: contrastive_step(size, chunk=None),
        "contrastive batch, chunked": lambda: contrastive_step(size, chunk=CHUNK),
    }
    step = steps[axis]()
    before = resident_peak()
    step()  # what is loaded at the first step is not part of any
    seconds: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return {"size": size, "seconds": statistics.median(seconds), "gib": (resident_peak() - before) / 2**30}


def exponent(points: Sequence[Mapping[str, float]], what: str) -> float:
    """The slope of log ``what`` over log size, by least squares over the larger half of the sizes."""
    half = [(math.log(p["size"]), math.log(max(p[what], 1e-9))) for p in points[len(points) // 2 - (len(points) < 4) :]]
    xs, ys = zip(*half, strict=True)
    x, y = statistics.mean(xs), statistics.mean(ys)
    spread = sum((each - x) ** 2 for each in xs)
    return sum((a - x) * (b - y) for a, b in half) / spread


def draw(found: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Time and memory of each axis, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(2, len(found), figsize=(3 * len(found), 6), squeeze=False)
    for column, (axis, points) in enumerate(found.items()):
        for row, (what, unit) in enumerate((("seconds", "s"), ("gib", "GiB"))):
            panel = panels[row][column]
            panel.plot([p["size"] for p in points], [p[what] for p in points], marker="o")
            panel.set_xscale("log", base=2)
            panel.set_yscale("log")
            panel.set_title(f"{axis}\npower {exponent(points, what):.2f}", fontsize=9)
            panel.set_ylabel(unit)
            panel.grid(visible=True, alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """The figure's points as Markdown."""
    lines = [
        "| axis | size | seconds | GiB | power of time | power of memory |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for axis, points in found.items():
        for each in points:
            fitted = (exponent(points, "seconds"), exponent(points, "gib")) if each is points[-1] else ()
            powers = " | ".join(f"{power:.2f}" for power in fitted) or " | "
            lines.append(f"| {axis} | {each['size']:,.0f} | {each['seconds']:.3g} | {each['gib']:.2f} | {powers} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure every point, or, with ``--point``, one in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--point", nargs=2, metavar=("AXIS", "SIZE"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="the two smallest sizes of each axis, once")
    parser.add_argument("--out", type=Path, default=FOLDER)
    asked = parser.parse_args()
    rounds = 1 if asked.smoke else asked.rounds
    if asked.point:
        print(json.dumps(point(asked.point[0], int(asked.point[1]), rounds)))
        return
    found: dict[str, list[dict[str, float]]] = {}
    for axis, sizes in AXES.items():
        for size in sizes[: 2 if asked.smoke else None]:
            command = [sys.executable, "-m", "benchmarks.scaling", "--point", axis, str(size), "--rounds", str(rounds)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found.setdefault(axis, []).append(json.loads(printed.splitlines()[-1]))
            print(axis, found[axis][-1], flush=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    draw(found, asked.out / "scaling.png")
    (asked.out / "scaling.md").write_text(table(found))


if __name__ == "__main__":
    main()
