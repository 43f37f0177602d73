"""P1 to P4 and P7: training steps of the whole model beside transformers' FlavaForPreTraining, same weights."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from flava_parts.data.packing import pack

from .machine import matrix_product_rate
from .memory import peak_of_step
from .peers import caption_lengths, checkpoint, images, ours, step, texts, theirs
from .rivals import Row, in_turn

ITM = torch.tensor([1, 1, 0, 1])
"""One pair of four is mismatched."""


def paired(*, pad_to: int | None = None, lengths: list[int] | None = None) -> dict[str, Tensor]:
    """Four pairs with everything that all losses need."""
    return {**images(4), **texts(lengths or [77] * 4, pad_to=pad_to), "itm_labels": ITM}


def cached(model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The batch with its image codes instead of the codebook's pixels: what a store of codes gives."""
    batch = dict(batch)
    with torch.no_grad():
        batch["mim_labels"] = model.codebook(batch.pop("codebook_pixel_values"))
    return batch


def documents(count: int, *, seed: int = 0) -> list[int]:
    """Lengths of documents from 16 to 512 tokens, short ones more often: uniform in their logarithm."""
    generator = torch.Generator().manual_seed(seed)
    return [int(16 * 32**share) for share in torch.rand(count, generator=generator).tolist()]


def rows(*, smoke: bool, rounds: int) -> Iterator[Row]:
    """Each line with the largest relative difference of the two losses, which are compared before anything is timed."""
    folder = checkpoint(smoke=smoke)
    model, peer = ours(folder), theirs(folder)

    def line(
        id: str,
        work: str,
        target: float,
        batch: dict[str, Tensor],
        own: dict[str, Tensor] | None = None,
        note: str = "",
    ) -> Row:
        mine = batch if own is None else own
        asked = {"output_states": False}
        expected, actual = step(peer, _copied(batch)), step(model, mine, **asked)
        apart = abs(actual - expected) / abs(expected)
        if apart > 1e-4:
            raise AssertionError(f"{id}: the losses differ, {actual} and {expected}")
        own_seconds, their_seconds = in_turn(
            lambda: step(model, mine, **asked), lambda: step(peer, _copied(batch)), rounds=rounds, warm_up=0
        )
        return Row(id, work, own_seconds, their_seconds, target, f"losses {apart:.1e} apart{note}")

    batch = paired()
    operations = _operations(model, batch)
    yield line("P1", "paired step, 4 pairs, 77 words, codebook computed", 1.15, batch)
    side, length = (256, 0.01) if smoke else (2048, 3.0)
    taken, needed = zip(*(_beside_products(model, batch, operations, side, length) for _ in range(rounds)), strict=True)
    share = statistics.median(needed) / statistics.median(taken)
    yield Row(
        "P7",
        "P1 beside as many operations in products of square matrices",
        taken,
        needed,
        0.85,
        f"{share:.2f} of {operations / statistics.median(needed):.3g} FLOP/s, which is kept up for {length:g} s",
    )
    peaks = [[peak_of_step(who, folder, batch) for who in ("ours", "theirs")] for _ in range(rounds)]
    own_peaks, their_peaks = map(tuple, zip(*peaks, strict=True))
    yield Row(
        "P1m",
        "P1's peak resident memory (GiB)",
        own_peaks,
        their_peaks,
        1 / 0.70,
        "of a process that makes two such steps",
    )
    lengths = list(caption_lengths()[:4])
    batch = paired(lengths=lengths)
    yield line("P2", f"paired step, captions of {lengths} tokens, codes stored", 1.35, batch, cached(model, batch))
    batch = images(4)
    yield line("P3", "image step, 4 images, codebook computed", 1.2, batch)
    yield line("P3c", "image step, 4 images, codes stored", 1.8, batch, cached(model, batch))
    yield line("P4", "text step, 2 texts of 512 tokens", 1.3, texts([512] * 2))
    lengths = documents(8)
    batch = texts(lengths)
    packed = pack(batch, length=512)
    note = f"; {sum(lengths)} tokens in {batch['input_ids'].numel()} places, packed in {packed['input_ids'].numel()}"
    yield line("P4d", "text step, 8 documents of 16 to 512 tokens", 2.0, batch, packed, note)


def _beside_products(
    model: Any, batch: Mapping[str, Tensor], operations: int, side: int, length: float
) -> tuple[float, float]:
    """Seconds of a step, and those that matrix products of as many operations take right after it."""
    start = time.perf_counter()
    step(model, dict(batch), output_states=False)
    taken = time.perf_counter() - start
    return taken, operations / matrix_product_rate(side, length)


def _copied(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers writes into its labels."""
    return {name: tensor.clone() for name, tensor in batch.items()}


def _operations(model: Any, batch: Mapping[str, Tensor]) -> int:
    with FlopCounterMode(display=False) as counter:
        step(model, dict(batch), output_states=False)
    return counter.get_total_flops()
