"""P1 to P4 and P7: training steps of the whole model beside transformers' FlavaForPreTraining, same weights."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from flava_parts.data.packing import pack

from .machine import matrix_product_rate
from .peers import caption_lengths, checkpoint, images, ours, step, texts
from .rivals import Row
from .steps import Stepper, in_turn

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
    model = ours(folder)
    operations = _operations(model, paired())
    lengths = list(caption_lengths()[:4])
    stored = {name: cached(model, batch) for name, batch in _with_codebook(lengths).items()}
    del model
    with Stepper("ours", folder) as own, Stepper("transformers", folder) as peer:

        def line(
            id: str,
            work: str,
            target: float,
            batch: dict[str, Tensor],
            own_batch: dict[str, Tensor] | None = None,
            note: str = "",
        ) -> Row:
            mine = batch if own_batch is None else own_batch
            apart, own_seconds, their_seconds = in_turn(own, peer, mine, batch, rounds=rounds)
            return Row(id, work, own_seconds, their_seconds, target, f"losses {apart:.1e} apart{note}")

        batch = paired()
        yield line("P1", "paired step, 4 pairs, 77 words, codebook computed", 1.15, batch)
        side, length = (256, 0.01) if smoke else (2048, 3.0)
        # The products right after each step, so that what slows the machine slows both.
        beside = [(own(batch).seconds, operations / matrix_product_rate(side, length)) for _ in range(rounds)]
        taken, needed = zip(*beside, strict=True)
        share = statistics.median(needed) / statistics.median(taken)
        yield Row(
            "P7",
            "P1 beside as many operations in products of square matrices",
            taken,
            needed,
            0.85,
            f"{share:.2f} of {operations / statistics.median(needed):.3g} FLOP/s, which is kept up for {length:g} s",
        )
        batches = _with_codebook(lengths)
        work = f"paired step, captions of {lengths} tokens, codes stored"
        yield line("P2", work, 1.35, batches["pairs"], stored["pairs"])
        yield line("P3", "image step, 4 images, codebook computed", 1.2, batches["images"])
        yield line("P3c", "image step, 4 images, codes stored", 1.8, batches["images"], stored["images"])
        yield line("P4", "text step, 2 texts of 512 tokens", 1.3, texts([512] * 2))
        lengths = documents(8)
        batch = texts(lengths)
        packed = pack(batch, length=512)
        note = (
            f"; {sum(lengths)} tokens in {batch['input_ids'].numel()} places, packed in {packed['input_ids'].numel()}"
        )
        yield line("P4d", "text step, 8 documents of 16 to 512 tokens", 2.0, batch, packed, note)
    peaks = [[_peak(who, folder, paired()) for who in ("ours", "transformers")] for _ in range(rounds)]
    own_peaks, their_peaks = map(tuple, zip(*peaks, strict=True))
    note = "of a process that makes two such steps"
    yield Row("P1m", "P1's peak resident memory (GiB)", own_peaks, their_peaks, 1 / 0.70, note)


def _with_codebook(lengths: list[int]) -> dict[str, dict[str, Tensor]]:
    """Batches whose codes ours may have stored, transformers computes them."""
    return {"pairs": paired(lengths=lengths), "images": images(4)}


def _peak(who: str, folder: Path, batch: Mapping[str, Tensor]) -> float:
    """The most memory in GiB that a process of its own holds while it makes two steps."""
    with Stepper(who, folder) as process:
        process(batch)
        return process(batch).peak


def _operations(model: Any, batch: Mapping[str, Tensor]) -> int:
    with FlopCounterMode(display=False) as counter:
        step(model, dict(batch), output_states=False)
    return counter.get_total_flops()
