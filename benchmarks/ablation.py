"""What each loss and each stream is worth on the shipped emoji run: ``python benchmarks/ablation.py FOLDER``.

Every variant is trained with the same seed and number of updates on one thread, in a process of its own; its cost is
that process's CPU time, which other work on the machine does not change. Contrastive alone is trained twice: as many
updates, and as many as fit into the time of the whole recipe. A variant that FOLDER holds already is not run again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

RUN = "flava.emoji"
STEPS = 600
SEEDS = (0,)

WITHOUT_LOSS: Mapping[str, Sequence[str]] = {
    "mim": ("model.losses.mim=null", "data.streams.images=null"),
    "mlm": ("model.losses.mlm=null", "data.streams.texts=null"),
    "mmm_image": ("model.losses.mmm_image=null",),
    "mmm_text": ("model.losses.mmm_text=null",),
    "itm": ("model.losses.itm=null", "model.pair_masker=null"),
    # Its projections stay, untrained, so that retrieval can be measured: by chance.
    "global_contrastive": ("model.losses.global_contrastive.weight=0", "data.streams.aligned=null"),
}
WITHOUT_STREAM: Mapping[str, Sequence[str]] = {
    name: (f"data.streams.{name}=null",) for name in ("images", "texts", "paired")
}
CONTRASTIVE = tuple(f"data.streams.{name}=null" for name in ("images", "texts", "paired"))


def run(folder: Path, settings: Sequence[str], *, steps: int = STEPS, seed: int = 0) -> dict[str, float]:
    """Train a variant in ``folder`` unless it was, and give its retrieval in per cent and its CPU seconds."""
    result = folder / "ablation.json"
    if not result.is_file():
        wanted = [*settings, f"train.steps={steps}", f"train.seed={seed}"]
        command = [sys.executable, "-m", "flava_parts", "train", RUN, "--out", str(folder)]
        before = os.times()
        subprocess.run(
            [*command, *(word for setting in wanted for word in ("--set", setting))],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
        )
        after = os.times()
        seconds = after.children_user + after.children_system - before.children_user - before.children_system
        last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
        record = {key.removeprefix("retrieval/"): value for key, value in last.items() if key.startswith("retrieval/")}
        result.write_text(json.dumps({**record, "cpu_seconds": seconds, "steps": steps}) + "\n")
    return json.loads(result.read_text())


def row(name: str, results: Sequence[Mapping[str, float]]) -> str:
    """A line of the table: means over the seeds."""

    def mean(key: str) -> float:
        return sum(result[key] for result in results) / len(results)

    figures = [
        f"{mean(f'{way}/{top}') * 100:.1f}" for way in ("image_to_text", "text_to_image") for top in ("top1", "top5")
    ]
    return f"| {name} | {mean('steps'):.0f} | {mean('cpu_seconds'):.0f} | " + " | ".join(figures) + " |"


def main(folder: Path) -> None:
    """Run every variant, and print the table as Markdown."""
    print("| run | updates | CPU s | image to text top-1 | top-5 | text to image top-1 | top-5 |", flush=True)
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    whole = [run(folder / f"whole-{seed}", (), seed=seed) for seed in SEEDS]
    print(row("all six losses, four streams", whole), flush=True)
    alone = [run(folder / f"contrastive-{seed}", CONTRASTIVE, seed=seed) for seed in SEEDS]
    print(row("contrastive alone", alone), flush=True)
    steps = round(STEPS * whole[0]["cpu_seconds"] / alone[0]["cpu_seconds"])
    longer = [run(folder / f"contrastive-equal-time-{seed}", CONTRASTIVE, steps=steps, seed=seed) for seed in SEEDS]
    print(row("contrastive alone, equal time", longer), flush=True)
    for name, settings in WITHOUT_LOSS.items():
        results = [run(folder / f"without-loss-{name}-{seed}", settings, seed=seed) for seed in SEEDS]
        print(row(f"without the loss `{name}`", results), flush=True)
    for name, settings in WITHOUT_STREAM.items():
        results = [run(folder / f"without-stream-{name}-{seed}", settings, seed=seed) for seed in SEEDS]
        print(row(f"without the stream `{name}`", results), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
