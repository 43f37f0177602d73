"""What a model costs: parameters, floating-point operations and memory of a training step, without allocating it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from .compose import compose
from .facts import MODALITIES, Modality, Vocab, pair
from .model import FlavaForPreTraining
from .spec import FlavaSpec
from .wiring import wire


@dataclass(frozen=True, slots=True)
class Cost:
    """Counts of a training step in float32; operations are multiplications and additions, the heads' at every position.

    ``parameters`` of each part, frozen ones too; ``trainable`` are those that are updated. ``forward`` operations of
    each part and ``step``, all operations of forward and backward, by kind of batch. ``memory`` in bytes by what it
    holds, with two averages for each parameter (AdamW) and what the most expensive batch keeps for its backward pass.
    """

    parameters: dict[str, int]
    trainable: int
    forward: dict[str, dict[str, int]]
    step: dict[str, int]
    memory: dict[str, int]


def cost(spec: FlavaSpec, *, batch_size: int = 1, words: int | None = None, vocab: Vocab | None = None) -> Cost:
    """Count on the meta device, for ``batch_size`` samples with texts of ``words`` tokens (the longest if not given).

    Raises SpecError as `compose` does.
    """
    model = compose(spec, device="meta", vocab=vocab)
    parts = dict(_parts(model))
    parameters = {name: _size(part) for name, part in parts.items()}
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    forward: dict[str, dict[str, int]] = {}
    step: dict[str, int] = {}
    kept = 0
    for use, modalities in MODALITIES.items():
        batch = meta_batch(spec, modalities, batch_size, words)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(**batch, output_logits=True)
        counts = counter.get_flop_counts()
        root = type(model).__name__
        forward[use] = {name: sum(counts.get(f"{root}.{name}", {}).values()) for name in parts}
        with FlopCounterMode(display=False) as counter:
            kept = max(kept, _step(model, batch))
        step[use] = counter.get_total_flops()
    memory = {
        "weights": 4 * sum(parameters.values()),
        "gradients": 4 * trainable,
        "optimizer": 8 * trainable,
        "activations": kept,
    }
    return Cost(parameters, trainable, forward, step, memory)


def _parts(model: FlavaForPreTraining) -> Iterator[tuple[str, nn.Module]]:
    """The parts with weights, under the names of their slots."""
    for name, part in model.named_children():
        if part is model.losses:
            yield from ((f"{name}.{loss}", module) for loss, module in part.named_children())
        else:
            yield name, part


def _size(part: nn.Module) -> int:
    return sum(weights.numel() for weights in (*part.parameters(), *part.buffers()) if weights.is_floating_point())


def meta_batch(spec: FlavaSpec, modalities: frozenset[Modality], size: int, words: int | None) -> dict[str, Tensor]:
    """A masked and labelled batch without content."""
    wiring = wire(spec)
    batch: dict[str, Tensor] = {}

    def integers(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.long, device="meta")

    if "image" in modalities:
        patches = wiring.image.grid.size
        batch["pixel_values"] = torch.empty(size, spec.image_encoder.channels, *pair(wiring.image_size), device="meta")
        if getattr(spec.image_encoder, "mask_token", True):
            batch["bool_masked_pos"] = torch.empty(size, patches, dtype=torch.bool, device="meta")
        if spec.codebook is not None:
            view = (size, spec.codebook.channels, *pair(spec.codebook.image_size))
            batch["codebook_pixel_values"] = torch.empty(view, device="meta")
    if "text" in modalities:
        length = min(words or wiring.text.length, wiring.text.length)
        for name in ("input_ids", "input_ids_masked", "mlm_labels"):
            batch[name] = integers(size, length)
    if len(modalities) == 2:
        batch["itm_labels"] = integers(size)
    return batch


def _step(model: FlavaForPreTraining, batch: dict[str, Tensor]) -> int:
    """One forward and backward pass; the bytes that it keeps in between, weights not counted."""
    weights = {_storage(weight) for weight in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in weights:
            kept[_storage(tensor)] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(**batch, output_logits=True).loss
        if loss is not None:
            loss.backward()
    model.zero_grad()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]  # the address; meta has no data_ptr
