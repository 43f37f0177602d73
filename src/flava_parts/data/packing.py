"""Short texts put into shared rows, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

PADDING = {"mlm_labels": -100, "special_tokens_mask": 1}
"""What stands where a row is filled up; 0 for all others."""


def pack(texts: Mapping[str, Tensor], *, length: int, multiple: int = 1) -> dict[str, Tensor]:
    """Texts (B, L), each a row, to rows (R, N) of one or more whole texts.

    N is at most ``length``, and rounded up to a whole ``multiple``, which divides ``length``.
    ``attention_mask`` (B, L) says where each text ends, and every other tensor has one entry a token. What comes back
    has an ``attention_mask`` (R, N, N), by which a word attends to its own text alone, and ``position_ids`` (R, N) that
    restart with each text: a text's states are those it would have in a row of its own. The longest texts are placed
    first, each in the first row with room. Raises ValueError for a text that is longer than ``length``.
    """
    lengths = texts["attention_mask"].sum(dim=1).tolist()
    if max(lengths) > length:
        raise ValueError(f"a text of {max(lengths)} tokens does not fit into rows of {length}")
    rows = _first_fit(lengths, length)
    longest = max(sum(lengths[text] for text in row) for row in rows)
    width = min(length, -(-longest // multiple) * multiple)
    given = {name: tensor for name, tensor in texts.items() if name not in ("attention_mask", "position_ids")}
    packed = {name: tensor.new_full((len(rows), width), PADDING.get(name, 0)) for name, tensor in given.items()}
    positions = torch.zeros(len(rows), width, dtype=torch.long)
    owners = torch.full((len(rows), width), -1)
    for index, row in enumerate(rows):
        start = 0
        for text in row:
            end = start + lengths[text]
            for name, tensor in given.items():
                packed[name][index, start:end] = tensor[text, : lengths[text]]
            positions[index, start:end] = torch.arange(lengths[text])
            owners[index, start:end] = text
            start = end
    together = (owners[:, :, None] == owners[:, None, :]) & (owners >= 0)[:, :, None]
    return {**packed, "attention_mask": together, "position_ids": positions}


def _first_fit(lengths: list[int], room: int) -> list[list[int]]:
    """Texts in rows by first-fit decreasing, which needs at most 11/9 of the fewest rows possible (Johnson 1973)."""
    rows: list[list[int]] = []
    left: list[int] = []
    for text in sorted(range(len(lengths)), key=lambda text: -lengths[text]):
        row = next((row for row, free in enumerate(left) if free >= lengths[text]), None)
        if row is None:
            rows.append([])
            left.append(room)
            row = len(rows) - 1
        rows[row].append(text)
        left[row] -= lengths[text]
    return rows
