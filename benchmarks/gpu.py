"""P8: paired steps on one GPU in bf16 beside transformers', eager and compiled: ``python -m benchmarks.gpu``.

Prints samples a second, the share of a measured matrix product peak (MFU: forward and backward operations of the linear
layers and attention, over time and peak), peak memory, and what the ten most expensive kernels take. Keeps them in
``benchmarks/results/`` under the card's name.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from flava_parts.train.blocks import compile_blocks

from .machine import machine, matrix_product_peak
from .peers import checkpoint, images, ours, texts, theirs

RESULTS = Path(__file__).parent / "results"


def wait(device: torch.device) -> None:
    """Until the device is done: its work is only queued by the calls that ask for it."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def stepper(model: Any, inputs: dict[str, Tensor], device: torch.device, **asked: Any) -> Callable[[], Tensor]:
    """Forward under bf16 autocast, backward, and a fused update."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5, fused=True)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16):
            loss = model(**{name: tensor.clone() for name, tensor in inputs.items()}, **asked).loss
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def measure(
    step: Callable[[], Tensor], device: torch.device, *, samples: int, warm_up: int, rounds: int
) -> dict[str, float]:
    """Median seconds of a step after some that warm up, samples a second, and the most memory in GiB."""
    losses = [step().item() for _ in range(warm_up)]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds: list[float] = []
    for _ in range(rounds):
        wait(device)
        start = time.perf_counter()
        step()
        wait(device)
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
    return {"seconds": median, "samples_per_second": samples / median, "memory_gib": memory, "first_loss": losses[0]}


def kernels(step: Callable[[], Tensor], device: torch.device) -> list[tuple[str, float]]:
    """The ten kernels that take most of a step, with their share of all kernels' time."""
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=kinds) as seen:
        step()
        wait(device)
    time_of = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    found = [(event.key, float(getattr(event, time_of))) for event in seen.key_averages()]
    whole = sum(taken for _, taken in found) or 1.0
    return [(name, taken / whole) for name, taken in sorted(found, key=lambda each: -each[1])[:10]]


def main() -> None:
    """Measure the four in turn, and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--smoke", action="store_true", help="a tiny model, to see that all of it runs")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    device = torch.device(asked.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("no GPU is here; --device cpu --smoke shows that the benchmark runs")
    folder = checkpoint(smoke=asked.smoke)
    matched = torch.ones(asked.batch, dtype=torch.long)
    batch = {**images(asked.batch), **texts([77] * asked.batch), "itm_labels": matched}
    inputs = {name: tensor.to(device) for name, tensor in batch.items()}
    peak = matrix_product_peak(64 if asked.smoke else 8192, torch.bfloat16, asked.device)
    found: dict[str, Any] = {"machine": machine(), "batch": asked.batch, "product_peak": peak, "rows": {}}
    if device.type == "cuda":
        found["machine"]["card"] = torch.cuda.get_device_name()

    def ours_compiled() -> Any:
        model = ours(folder)
        compile_blocks(model)
        return model

    rows: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
        "transformers": (lambda: theirs(folder), {}),
        "transformers, compiled": (lambda: torch.compile(theirs(folder)), {}),
        "flava_parts": (lambda: ours(folder), {"output_states": False}),
        "flava_parts, compiled by block": (ours_compiled, {"output_states": False}),
    }
    for name, (make, arguments) in rows.items():
        model = make().to(device).train()
        step = stepper(model, inputs, device, **arguments)
        warm_up, rounds = (1, 1) if asked.smoke else (3, asked.rounds)
        row: dict[str, Any] = measure(step, device, samples=asked.batch, warm_up=warm_up, rounds=rounds)
        if name == "flava_parts":
            with FlopCounterMode(display=False) as counter:
                step()
            row["operations"] = counter.get_total_flops()
            row["mfu"] = row["operations"] / row["seconds"] / peak
        row["kernels"] = kernels(step, device)
        found["rows"][name] = row
        print(f"{name}: {row['samples_per_second']:.1f} samples/s, {row['memory_gib']:.1f} GiB", flush=True)
        for kernel, share in row["kernels"]:
            print(f"    {share:5.1%}  {kernel[:90]}")
        del model, step
        if device.type == "cuda":
            torch.cuda.empty_cache()
    whole = found["rows"]["flava_parts"]
    best = min(row["seconds"] for name, row in found["rows"].items() if name.startswith("flava"))
    ratio = found["rows"]["transformers"]["seconds"] / best
    share = whole["operations"] / best / peak
    print(f"P8: {ratio:.2f} times as fast as transformers under autocast, promised 2; MFU {share:.2f}, promised 0.40")
    asked.out.mkdir(parents=True, exist_ok=True)
    card = found["machine"].get("card", "cpu").replace(" ", "-")
    (asked.out / f"gpu-{card}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
