"""``flava-parts explain``: what a file means."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..errors import InputError
from .options import Json, Plugins, Set, registry_with
from .tables import short, table

if TYPE_CHECKING:
    from ..cost import Cost
    from ..spec import FlavaSpec
    from ..train.planning import Plan
    from ..wiring import Wiring

Precision = Literal["fp32", "bf16", "fp16"]


def explain(
    source: Annotated[str, typer.Argument(metavar="FILE", help="A model or run file, or a preset.")],
    changes: Set = None,
    plugins: Plugins = None,
    full: Annotated[bool, typer.Option("--full", help="Print every value, and where it comes from, instead.")] = False,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Samples of a batch; the run's, or 1.")] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="Plan a training on so many GPUs instead: memory, operations, traffic.")
    ] = None,
    fit: Annotated[bool, typer.Option("--fit", help="Say how many pairs a batch of one GPU can have instead.")] = False,
    memory: Annotated[str, typer.Option(metavar="SIZE", help="What one GPU has, with --gpus or --fit.")] = "80GiB",
    precision: Annotated[
        Precision | None,
        typer.Option(help="What matrices are multiplied in, with --gpus or --fit; the run's, or fp32."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a model is made of: tokens, widths, parameters, operations and memory of a training step."""
    from ..loading import load
    from ..spec import FinetuneSpec, FlavaSpec
    from ..writing import to_yaml

    loaded = load(source, registry=registry_with(plugins), set=changes or [])
    if isinstance(loaded.spec, FinetuneSpec) and (fit or gpus is not None):
        raise InputError("--gpus and --fit plan a pretraining; this is the file of a fine-tuning")
    if full or isinstance(loaded.spec, FinetuneSpec):  # what that is made of, the pretrained model says
        print(loaded.spec.model_dump_json(indent=2) + "\n" if as_json else to_yaml(loaded.spec, loaded.origin), end="")
        return
    from ..cost import cost
    from ..wiring import wire

    if isinstance(loaded.spec, FlavaSpec):
        spec, size, vocab, words = loaded.spec, batch_size or 1, None, None
        choice = precision or "fp32"
    else:
        run = loaded.spec
        spec, size = run.model, batch_size or run.train.batch_size
        vocab, words = run.data.tokenizer.vocab(), run.data.tokenizer.length
        # GPUs are faster in bf16 than in float32, so that `auto` will choose it.
        choice = precision or ("bf16" if run.train.precision == "auto" else run.train.precision)
    if gpus is not None:
        from ..train.planning import plans

        limit = _bytes(memory)
        size = batch_size or (gpus if isinstance(loaded.spec, FlavaSpec) else size)
        found = list(plans(spec, gpus=gpus, batch_size=size, precision=choice, words=words, vocab=vocab))
        write = _plans_json if as_json else _plans_text
        print(write(found, size, gpus, limit, choice))
        return
    if fit:
        from ..train.planning import largest_batch

        limit = _bytes(memory)
        kept, again = (
            largest_batch(spec, memory=limit, again=recomputed, precision=choice, words=words, vocab=vocab)
            for recomputed in (False, True)
        )
        if as_json:
            found = {"memory": limit, "precision": choice, "kept": kept, "recomputed": again}
            print(json.dumps(found, indent=2))
        else:
            print(
                f"In {short(limit, 'B')}, in {choice} with AdamW: {kept} pairs a batch, {again} with blocks recomputed."
            )
        return
    wiring = wire(spec, vocab)
    counted = cost(spec, batch_size=size, words=words, vocab=vocab)
    words = min(words or wiring.text.length, wiring.text.length)
    print(
        json.dumps(_as_json(spec, wiring, counted, size, words), indent=2)
        if as_json
        else _text(spec, wiring, counted, size, words)
    )


_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def _bytes(size: str) -> int:
    """``80GiB`` in bytes. Raises InputError for what is no size."""
    unit = size[-3:] if size.endswith("iB") else size[-2:]
    try:
        number = float(size.removesuffix(unit)) * _UNITS[unit]
    except (ValueError, KeyError):
        number = 0.0
    if not 0 < number < 2**63:
        raise InputError(f"--memory {size}: is no size; write it like 80GiB, in {', '.join(_UNITS)}")
    return int(number)


def _plans_text(found: list[Plan], batch_size: int, gpus: int, limit: int, precision: Precision) -> str:
    rows = [
        (
            plan.parallel,
            "recomputed" if plan.recompute else "kept",
            *(short(size, "B") for size in plan.memory.values()),
            short(plan.peak, "B"),
            "yes" if plan.peak <= limit else "no",
            short(plan.operations, "FLOP"),
            short(plan.communication, "B"),
        )
        for plan in found
    ]
    head = ("parallel", "blocks", *found[0].memory, "in all", "fits", "operations", "sent")
    return "\n".join(
        [
            f"A step of {batch_size} pairs on {gpus} GPUs of {short(limit, 'B')}; of each, in {precision} with AdamW:",
            "",
            table(head, rows),
        ]
    )


def _plans_json(found: list[Plan], batch_size: int, gpus: int, limit: int, precision: Precision) -> str:
    ways = [dataclasses.asdict(plan) | {"peak": plan.peak, "fits": plan.peak <= limit} for plan in found]
    told = {"batch_size": batch_size, "gpus": gpus, "memory": limit, "precision": precision}
    return json.dumps(told | {"plans": ways}, indent=2)


def _rows(spec: FlavaSpec, wiring: Wiring, counted: Cost) -> list[dict[str, Any]]:
    """A row a part: its slot, type, tokens, width, parameters, and the operations of its dearest batch."""
    tokens: dict[str, tuple[str, int | str]] = {
        "image_encoder": (f"{wiring.image.prefix} + {wiring.image.grid}", wiring.image.width),
        "text_encoder": (f"{wiring.text.length}", wiring.text.width),
    }
    if wiring.layout is not None:
        tokens["fusion"] = (f"{wiring.layout.length}", wiring.layout.width)
    if wiring.codes is not None:
        tokens["codebook"] = (f"{wiring.codes.grid}", f"{wiring.codes.vocab_size} codes")
    rows: list[dict[str, Any]] = []
    parts = {slot: getattr(spec, slot) for slot in type(spec).model_fields if slot != "losses"}
    parts |= {f"losses.{name}": loss for name, loss in spec.losses.items()}
    for slot, part in parts.items():
        length, width = tokens.get(slot, ("", ""))
        rows.append(
            {
                "slot": slot,
                "type": part.type_name() if part is not None else None,
                "tokens": length,
                "width": width,
                "parameters": counted.parameters.get(slot, 0),
                "forward": max((counts.get(slot, 0) for counts in counted.forward.values()), default=0),
            }
        )
    return rows


def _text(spec: FlavaSpec, wiring: Wiring, counted: Cost, batch_size: int, words: int) -> str:
    def count(number: int) -> str:
        return f"{number:,}" if number else ""

    rows = [
        (
            row["slot"],
            row["type"] or "(none)",
            row["tokens"],
            str(row["width"]),
            count(row["parameters"]),
            short(row["forward"]) if row["forward"] else "",
        )
        for row in _rows(spec, wiring, counted)
    ]
    rows.append(("total", "", "", "", count(sum(counted.parameters.values())), ""))
    steps = ", ".join(f"{short(flops, 'FLOP')} for {use}" for use, flops in counted.step.items() if flops)
    memory = ", ".join(f"{name} {short(size, 'B')}" for name, size in counted.memory.items())
    batch = f"a batch of {batch_size} with texts of {words} tokens"
    return "\n".join(
        [
            table(("slot", "type", "tokens", "width", "parameters", "forward FLOP"), rows),
            "",
            f"A training step, forward and backward, {batch}: {steps}",
            f"Its memory in float32 with AdamW: {short(sum(counted.memory.values()), 'B')} ({memory})",
            "Heads are counted at every position, though they run only where something was masked.",
        ]
    )


def _as_json(spec: FlavaSpec, wiring: Wiring, counted: Cost, batch_size: int, words: int) -> dict[str, Any]:
    return {
        "batch_size": batch_size,
        "words": words,
        "parts": _rows(spec, wiring, counted),
        **dataclasses.asdict(counted),
    }
