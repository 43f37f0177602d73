"""Every promise about speed beside its peer: ``python -m benchmarks [--smoke] [P1 P5 …]``.

Prints a table, and keeps it in ``benchmarks/results/`` as Markdown and JSON with the machine that it was measured on.
"""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path

import torch

from . import scoring, start_up, torchmultimodal_steps, training, views
from .machine import machine
from .rivals import Row

RESULTS = Path(__file__).parent / "results"
SUITES = {
    "training": training,
    "torchmultimodal": torchmultimodal_steps,
    "scoring": scoring,
    "start_up": start_up,
    "views": views,
}


def markdown(found: dict[str, object], rows: list[Row]) -> str:
    """The table, under a line that says what it was measured on."""
    lines = [
        ", ".join(f"{name} {value}" for name, value in found.items()),
        "",
        "| id | work | ours | peer | ratio | promised | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        record = row.record
        ours, theirs = (_spread(record[side]) for side in ("ours", "theirs"))
        met = "yes" if record["met"] else "no"
        lines.append(
            f"| {row.id} | {row.work} | {ours} | {theirs} | {row.ratio:.2f} | {row.target:.2f}: {met} | {row.note} |"
        )
    return "\n".join(lines) + "\n"


def _spread(side: dict[str, float]) -> str:
    if side["rounds"] == 1:
        return f"{side['median']:.3g}"
    return f"{side['median']:.3g} ({side['least']:.3g} to {side['most']:.3g})"


def main() -> None:
    """Run the suites that are asked for, all if none is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suites", nargs="*", choices=[*SUITES, []], help="which suites; all if none")
    parser.add_argument("--smoke", action="store_true", help="a tiny model and one round: shows that all of it runs")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each pair of rivals")
    parser.add_argument("--threads", type=int, help="torch's threads; its own choice if not given")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the table is kept")
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    rounds = 1 if asked.smoke else asked.rounds
    rows: list[Row] = []
    for name in asked.suites or SUITES:
        for row in SUITES[name].rows(smoke=asked.smoke, rounds=rounds):
            rows.append(row)
            print(
                f"{row.id}: {row.work}: {row.ratio:.2f} times as fast, promised {row.target:.2f}  {row.note}",
                flush=True,
            )
    found: dict[str, object] = {"date": date.today().isoformat(), **machine()}
    asked.out.mkdir(parents=True, exist_ok=True)
    name = "-".join([date.today().isoformat(), *asked.suites])
    (asked.out / f"{name}.md").write_text(markdown(found, rows))
    record = {"machine": found, "rows": [row.record for row in rows]}
    (asked.out / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"kept in {asked.out / name}.md and .json")


if __name__ == "__main__":
    main()
