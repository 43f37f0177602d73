"""What each of two processes does with its half of a batch; `test_distributed` runs it and compares what they write."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from reference.contrastive import published_setting
from reference.oracles import LOSSES, Tiny, batch, hugging_face
from torch import Tensor, nn

from flava_parts.facts import Streams
from flava_parts.losses.contrastive import GlobalContrastive
from flava_parts.model import FlavaForPreTraining

RANKS, ROWS = 2, 3
MATCHED = torch.tensor([True, False, False, True, True, False])
WAYS = ("global", "local", "none")


def contrastive(backprop: str) -> GlobalContrastive:
    torch.manual_seed(7)
    loss = GlobalContrastive(image_width=6, text_width=4, projection=5, backprop=backprop, init_std=0.5)
    return loss.double()


def summaries() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(8)
    both = (torch.randn(RANKS * ROWS, width, generator=generator, dtype=torch.float64) for width in (6, 4))
    return dict(zip((Streams.IMAGE_SUMMARY, Streams.TEXT_SUMMARY), both, strict=True))


def whole_model() -> tuple[FlavaForPreTraining, dict[str, Tensor]]:
    """A model with the contrastive loss alone, and all ranks' pairs."""
    tiny = Tiny(weights=dict.fromkeys(LOSSES, 0.0) | {"global_contrastive": 1.0})
    model = tiny.ours(hugging_face(tiny, 0).state_dict(), "transformers")
    return model, batch(tiny, 0, pads=True, labels=False, count=RANKS * ROWS)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def rows_of(rank: int, batch: dict[str, Tensor], rows: int = ROWS) -> dict[str, Tensor]:
    return {name: value[rank * rows :][:rows].detach() for name, value in batch.items()}


@contextmanager
def process_group(rank: int, folder: Path) -> Iterator[None]:
    store = dist.FileStore(str(folder / "store"), RANKS)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=RANKS)
    try:
        yield
    finally:
        dist.destroy_process_group()


def measure(loss: nn.Module, streams: dict[str, Tensor]) -> dict[str, Any]:
    value = loss(streams)
    value.value.backward()
    return {"value": value.value.detach(), "count": value.count, "targets": value.targets, "gradients": gradients(loss)}


def reference_head(mine: dict[str, Tensor], global_backprop: bool) -> dict[str, Any]:
    """transformers' head over our projections."""
    from transformers import FlavaConfig
    from transformers.models.flava.modeling_flava import FlavaGlobalContrastiveHead

    loss = contrastive("global")
    head = FlavaGlobalContrastiveHead(FlavaConfig(global_backprop_contrastive=global_backprop))
    image = loss.embed_image(mine[Streams.IMAGE_SUMMARY])
    text = loss.embed_text(mine[Streams.TEXT_SUMMARY])
    per_image, per_text, labels = head(image, text, loss.logit_scale)
    value = (nn.functional.cross_entropy(per_image, labels) + nn.functional.cross_entropy(per_text, labels)) / 2
    value.backward()
    return {"value": value.detach(), "gradients": gradients(loss)}


def unequal(rank: int) -> str:
    uneven = {name: value[: 2 + rank] for name, value in summaries().items()}
    try:
        contrastive("global")(uneven)
    except ValueError as error:
        return str(error)
    return "nothing raised"


def work(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    with process_group(rank, folder):
        mine = rows_of(rank, summaries())
        found: dict[str, Any] = {way: measure(contrastive(way), mine) for way in WAYS}
        found |= {f"transformers {way}": reference_head(mine, way == "global") for way in ("global", "none")}
        matched = mine | rows_of(rank, {Streams.MATCHED: MATCHED})
        found["matched"] = measure(contrastive("global"), matched)
        images, texts, loss = published_setting()
        half = rows_of(rank, {Streams.IMAGE_SUMMARY: images, Streams.TEXT_SUMMARY: texts}, rows=2)
        found["published"] = measure(loss, half)
        model, pairs = whole_model()
        output = model(**rows_of(rank, pairs))
        output.loss.backward()
        found["model"] = {"value": output.loss.detach(), "gradients": gradients(model)}
        found["unequal"] = unequal(rank)
        torch.save(found, folder / f"{rank}.pt")


if __name__ == "__main__":
    work(int(sys.argv[1]), Path(sys.argv[2]))
