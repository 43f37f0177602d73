"""What a training step would take of each of several GPUs: memory, operations, communication; without a GPU."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ..compose import compose
from ..cost import meta_batch
from ..errors import InputError
from ..facts import Vocab
from ..losses.contrastive import GlobalContrastive
from ..losses.masked_prediction import MaskedPrediction
from ..losses.value import LossValue
from ..model import FlavaForPreTraining
from ..spec import FlavaSpec
from ..wiring import wire
from .blocks import blocks, recompute
from .distribution import Parallel

FLOAT = 4
"""Bytes of a number in float32."""

DRAWN = 64
"""So many masks are drawn to see what share of patches and words they hide."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One way of sharing a step of a batch of pairs; bytes, of each rank, in float32 with AdamW.

    ``memory`` by what it holds at the worst moment: this rank's ``weights`` and ``optimizer`` averages; ``gathered``
    weights of other ranks and buffers of communication; ``step``, activations and gradients; ``logits`` of the
    contrastive loss against the other ranks' rows. ``communication`` is what a rank sends in a step, in rings.
    ``operations`` are multiplications and additions of a step.
    """

    parallel: Parallel
    recompute: bool
    memory: dict[str, int]
    operations: int
    communication: int

    @property
    def peak(self) -> int:
        """All memory together."""
        return sum(self.memory.values())


@dataclass(frozen=True, slots=True)
class Step:
    """A step of one rank, simulated: the most that it allocates at once beside weights and averages.

    ``peak`` with gradients, as a training step leaves them; ``activations`` without. ``calls`` says how often each
    block ran forward.
    """

    peak: int
    activations: int
    operations: int
    calls: tuple[int, ...]


def plans(
    spec: FlavaSpec,
    *,
    gpus: int,
    batch_size: int,
    shard_ranks: int = 8,
    words: int | None = None,
    vocab: Vocab | None = None,
) -> list[Plan]:
    """Every way of sharing batches of ``batch_size`` pairs among ``gpus``, with and without recomputing blocks.

    ``shard_ranks`` is the size of the groups of ``hybrid``. Raises InputError if the batch cannot be shared equally,
    and SpecError as `compose` does.
    """
    if batch_size % gpus:
        raise InputError(f"a batch of {batch_size} cannot be shared by {gpus} GPUs; make it a multiple of {gpus}")
    found: list[Plan] = []
    for again in (False, True):
        model = compose(spec, device="meta", vocab=vocab)
        step = simulate(model, spec, rows=batch_size // gpus, words=words, again=again)
        ways: list[tuple[Parallel, int]] = [("ddp", 1), ("fsdp", gpus)]
        if gpus > shard_ranks and not gpus % shard_ranks:
            ways.append(("hybrid", shard_ranks))
        for parallel, shards in ways:
            found.append(_plan(model, step, parallel, shards=shards, gpus=gpus, rows=batch_size // gpus, again=again))
    return found


def largest_batch(
    spec: FlavaSpec, *, memory: int, again: bool = False, words: int | None = None, vocab: Vocab | None = None
) -> int:
    """The most pairs whose step one GPU with so many bytes of ``memory`` can make; 0 if not even two fit.

    ``again`` recomputes blocks. Raises SpecError as `compose` does.
    """

    def peak(rows: int) -> int:
        model = compose(spec, device="meta", vocab=vocab)
        step = simulate(model, spec, rows=rows, words=words, again=again)
        return _plan(model, step, "ddp", shards=1, gpus=1, rows=rows, again=again).peak

    fits, too_many = 0, 2
    while peak(too_many) <= memory:
        fits, too_many = too_many, 2 * too_many
    while too_many - fits > 1 and too_many > 2:
        middle = (fits + too_many) // 2
        fits, too_many = (middle, too_many) if peak(middle) <= memory else (fits, middle)
    return fits


def _plan(
    model: FlavaForPreTraining, step: Step, parallel: Parallel, *, shards: int, gpus: int, rows: int, again: bool
) -> Plan:
    weights, trained = _bytes(model), _bytes(model, trained=True)
    each = [_bytes(block, trained=True) for block in blocks(model)]
    largest, root = max(each, default=0), trained - sum(each)
    others, widest = rows * (gpus - 1), 0
    logits = exchanged = 0
    for loss in _contrastive(model):
        at_once = min(rows, loss.chunk_size or rows)
        widest = loss.image_projection.out_features
        # Both ways: logits, their log-softmax, and the gradient; vectors and their gradient.
        logits += FLOAT * 2 * (3 * at_once * others + 2 * others * widest)
        exchanged += FLOAT * 2 * 3 * others * widest
    if parallel == "ddp":
        memory = {
            "weights": weights,
            "optimizer": 2 * trained,
            "gathered": trained if gpus > 1 else 0,  # the buckets that gradients are sent from
            "step": step.peak,
            "logits": logits,
        }
        sent = _ring(trained, gpus, times=2)
    else:
        memory = {
            "weights": weights - trained + trained // shards,
            "optimizer": 2 * trained // shards,
            # What is in no block stays together during the step; of blocks there are one and the next, and a gradient.
            "gathered": 2 * root + 3 * largest,
            "step": step.activations + trained // shards,
            "logits": logits,
        }
        moved = sum(3 * calls * size for calls, size in zip(step.calls, each, strict=True)) + 2 * root
        sent = _ring(moved, shards) + _ring(trained // shards, gpus // shards, times=2)
    return Plan(parallel, again, memory, step.operations, sent + exchanged)


def _ring(size: int, ranks: int, times: int = 1) -> int:
    """What a rank sends when that many bytes are gathered or scattered in a ring; an all-reduce does it twice."""
    return times * size * (ranks - 1) // ranks


def simulate(
    model: FlavaForPreTraining, spec: FlavaSpec, *, rows: int, words: int | None = None, again: bool = False
) -> Step:
    """A training step of ``rows`` pairs by a model that is on the meta device, where nothing is allocated.

    Every tensor that the step would make is counted for as long as it would live. Heads run at as many positions as
    the spec's maskers hide. ``again`` recomputes blocks.
    """
    shares = hidden_shares(spec)
    for name, loss in list(model.losses.items()):
        if isinstance(loss, MaskedPrediction):
            model.losses[name] = _AtHidden(loss, shares["image" if "image" in loss.labels else "text"])
    if again:
        recompute(model)
    calls = [0] * len(list(blocks(model)))
    for index, block in enumerate(blocks(model)):
        block.register_forward_hook(partial(_count, calls, index))
    batch = meta_batch(spec, frozenset({"image", "text"}), rows, words)
    peaks: list[int] = []
    operations = 0
    for keep in (True, False):
        model.zero_grad()
        hooks = [] if keep else [weight.register_post_accumulate_grad_hook(_forget) for weight in _trained(model)]
        known = [*model.parameters(), *model.buffers(), *batch.values()]
        with FlopCounterMode(display=False) as counter, _Attention() as attention, Allocations(known) as live:
            output = model(**batch, output_logits=True)
            if output.loss is not None:
                output.loss.backward()
            del output
        operations = counter.get_total_flops() + attention.operations
        peaks.append(live.peak)
        for hook in hooks:
            hook.remove()
    return Step(peaks[0], peaks[1], operations, tuple(count // 2 for count in calls))


class Allocations(TorchDispatchMode):
    """The bytes that live at once in what operations return, ``peak`` at most; not those of ``known`` tensors."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self.peak = 0
        self._live = 0
        self._counted = {_storage(tensor) for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and _storage(tensor) not in self._counted:
                storage = tensor.untyped_storage()
                self._counted.add(_storage(tensor))
                self._live += storage.nbytes()
                weakref.finalize(storage, self._freed, _storage(tensor), storage.nbytes())
        self.peak = max(self.peak, self._live)
        return result

    def _freed(self, storage: int, size: int) -> None:
        self._counted.discard(storage)
        self._live -= size


class _Attention:
    """Attention as fused kernels do it, which keep no matrix of N x N; on the meta device torch takes none of them.

    Put in the place of torch's function while this context is open: modes do not reach what is recomputed.
    """

    def __init__(self) -> None:
        self.operations = 0
        self._torchs = F.scaled_dot_product_attention

    def __enter__(self) -> _Attention:
        F.scaled_dot_product_attention = self._attend
        return self

    def __exit__(self, *_: object) -> None:
        F.scaled_dot_product_attention = self._torchs

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, **_: Any) -> Any:
        return _Fused.apply(query, key, value, self._count)

    def _count(self, operations: int) -> None:
        self.operations += operations


class _Fused(torch.autograd.Function):
    """Keeps what goes in, what comes out, and a number a row."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, count: Callable[[int], None]) -> Tensor:
        out = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:-1]))
        ctx.count = count
        count(4 * query.numel() * key.shape[-2])  # two products of matrices
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        query, key, value, _, _ = ctx.saved_tensors
        ctx.count(10 * query.numel() * key.shape[-2])  # five
        return *(torch.empty_like(tensor) for tensor in (query, key, value)), None


class _AtHidden(nn.Module):
    """A loss over a share of the positions: which they are, the meta device does not know."""

    def __init__(self, loss: MaskedPrediction, share: float) -> None:
        super().__init__()
        self.loss = loss
        self.share = share
        self.weight = loss.weight

    def forward(self, streams: dict[str, Tensor], *, dense: bool = False) -> LossValue:
        """As the loss does."""
        count = max(1, math.ceil(self.share * streams[self.loss.labels].shape[1]))
        # Indexing copies, as it does where positions are known.
        picked = {name: streams[name][:, :count].clone() for name in (self.loss.states, self.loss.labels)}
        return self.loss(picked, dense=True)


def hidden_shares(spec: FlavaSpec) -> dict[str, float]:
    """What share of patches (``image``) and of words (``text``) the spec's maskers hide, seen on some masks."""
    wiring = wire(spec)
    generator = torch.Generator().manual_seed(0)
    shares = {"image": 1.0, "text": 1.0}
    if spec.image_masker is not None:
        masks = spec.image_masker.build(grid=wiring.image.grid)(DRAWN, generator)
        shares["image"] = masks.float().mean().item()
    if spec.text_masker is not None:
        ids = torch.randint(1000, 2000, (DRAWN, wiring.text.length), generator=generator)
        masker = spec.text_masker.build(vocab=wiring.vocab)
        masked = masker(ids, torch.zeros_like(ids, dtype=torch.bool), generator)
        shares["text"] = (masked.labels >= 0).float().mean().item()
    return shares


def _count(calls: list[int], index: int, *_: object) -> None:
    calls[index] += 1


def _forget(weight: Tensor) -> None:
    weight.grad = None


def _trained(model: nn.Module) -> Iterator[nn.Parameter]:
    return (weight for weight in model.parameters() if weight.requires_grad)


def _bytes(module: nn.Module, *, trained: bool = False) -> int:
    tensors = _trained(module) if trained else (*module.parameters(), *module.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _contrastive(model: FlavaForPreTraining) -> Iterator[GlobalContrastive]:
    return (loss for loss in model.losses.values() if isinstance(loss, GlobalContrastive))


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]  # the address; meta has no data_ptr
