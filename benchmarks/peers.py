"""The same weights in transformers' FLAVA and in ours, and batches for both."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import FlavaConfig, FlavaForPreTraining

from flava_parts.data.sources.glosses import FILE
from flava_parts.facts import Grid
from flava_parts.inputs.wordpiece import WordPiece
from flava_parts.interop.pretrained import load_pretrained
from flava_parts.maskers.block import BlockMasker
from flava_parts.train.blocks import forget

SMOKE: dict[str, Any] = {
    "image_config": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "text_config": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "multimodal_config": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "image_codebook_config": {"hidden_size": 8},
    "hidden_size": 32,
    "projection_dim": 32,
}
"""A model small enough to see in a second that a benchmark runs; its figures say nothing."""


@cache
def checkpoint(*, smoke: bool) -> Path:
    """A folder with random weights as transformers writes them: facebook/flava-full's sizes, or the small model's."""
    torch.manual_seed(0)
    folder = Path(tempfile.mkdtemp(prefix="flava-benchmark-"))
    atexit.register(shutil.rmtree, folder)
    config = FlavaConfig(**(SMOKE if smoke else {}))
    FlavaForPreTraining(config).save_pretrained(folder)
    return folder


def theirs(folder: Path) -> Any:
    """transformers' model of a checkpoint, as it is trained."""
    return FlavaForPreTraining.from_pretrained(folder).train()


def ours(folder: Path) -> Any:
    """Our model of the same checkpoint, as it is trained."""
    model = load_pretrained(folder).train()
    forget(model)
    return model


def images(count: int, *, codebook: bool = True, seed: int = 0) -> dict[str, Tensor]:
    """Images (B, 3, 224, 224), their codebook's view, and block masks."""
    generator = torch.Generator().manual_seed(seed)
    batch = {
        "pixel_values": torch.randn(count, 3, 224, 224, generator=generator),
        "bool_masked_pos": BlockMasker(grid=Grid(14, 14))(count, generator),
    }
    if codebook:
        batch["codebook_pixel_values"] = torch.rand(count, 3, 112, 112, generator=generator) * 0.8 + 0.1
    return batch


def texts(lengths: list[int], *, pad_to: int | None = None, seed: int = 0) -> dict[str, Tensor]:
    """Masked texts of so many tokens each, padded to the longest or to ``pad_to``; 15 % of the words have a label."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), pad_to or max(lengths))
    ids = torch.randint(1000, 30000, shape, generator=generator)
    keep = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    ids[:, 0] = 101
    ids[torch.arange(len(lengths)), torch.tensor(lengths) - 1] = 102
    ids = torch.where(keep, ids, 0)
    hidden = (torch.rand(shape, generator=generator) < 0.15) & (ids >= 1000)
    hidden[:, 1] = True  # each text has one at least
    return {
        "input_ids": ids,
        "input_ids_masked": torch.where(hidden, 103, ids),
        "attention_mask": keep.long(),
        "mlm_labels": torch.where(hidden, ids, -100),
    }


@cache
def caption_lengths() -> tuple[int, ...]:
    """The lengths in tokens of 2,000 real sentences of 12.8 words on average, as captions have (PMD: 12.1)."""
    lines = FILE.read_text(encoding="ascii").splitlines()[:2000]
    keep = WordPiece(length=77)(lines).attention_mask
    return tuple(int(length) for length in keep.sum(dim=1))


def step(model: Any, batch: dict[str, Tensor], **asked: Any) -> float:
    """Forward and backward; the loss."""
    model.zero_grad(set_to_none=True)
    loss = model(**batch, **asked).loss
    loss.backward()
    return loss.item()
