"""A tiny model with all six losses, and batches whose labels are spread unevenly over the rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flava_parts.compose import compose
from flava_parts.loading import load_spec
from flava_parts.model import FlavaForPreTraining

ROWS = 8
MATCHES = [1, 0, 0, 0, 1, 1, 1, 0]
"""One true pair in the first half of the batch, three in the second; in quarters 1, 0, 2 and 1."""


def tiny_model(**losses: dict[str, Any]) -> FlavaForPreTraining:
    """`flava.tiny` with weights large enough that every gradient is, and these changes of its losses."""
    spec = load_spec("flava.tiny")
    changed = {
        name: loss.model_copy(update={"init_std": 0.2, **losses.get(name, {})}) for name, loss in spec.losses.items()
    }
    torch.manual_seed(0)
    model = compose(spec.model_copy(update={"losses": changed}))
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)
    return model


def batches() -> dict[str, dict[str, Tensor]]:
    """A batch of images, one of texts, and one of pairs: row n has n hidden patches and n hidden words."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1000, 2000, (ROWS, 12), generator=generator)
    hidden = torch.arange(12) < torch.arange(ROWS)[:, None]
    image = {
        "pixel_values": torch.randn(ROWS, 3, 32, 32, generator=generator),
        "bool_masked_pos": torch.arange(16) < torch.arange(ROWS)[:, None],
        "mim_labels": torch.randint(64, (ROWS, 16), generator=generator),
    }
    text = {
        "input_ids": ids,
        "input_ids_masked": torch.where(hidden, 103, ids),
        "mlm_labels": torch.where(hidden, ids, -100),
    }
    return {"images": image, "texts": text, "pairs": image | text | {"itm_labels": torch.tensor(MATCHES)}}
