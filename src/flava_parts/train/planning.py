"""What a training step would take of each of several GPUs: memory, operations, communication; without a GPU."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ..compose import compose
from ..cost import meta_batch
from ..errors import InputError
from ..facts import Vocab
from ..losses.contrastive import GlobalContrastive
from ..losses.masked_prediction import MaskedPrediction
from ..losses.value import LossValue
from ..model import FlavaForPreTraining
from ..narrowing import Labelled
from ..spec import FlavaSpec
from ..wiring import wire
from .blocks import blocks, forget, recompute
from .distribution import Parallel
from .precision import Choice, Precision, keep_exact

FLOAT = 4
"""Bytes of a number in float32."""

DRAWN = 64
"""So many masks are drawn to see how many patches and words they hide."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One way of sharing a step of a batch of pairs; bytes, of each rank, with AdamW.

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
    """A step of one rank, simulated: the most that it allocates at once beside weights and averages, its operations,
    and how often each block ran forward."""

    peak: int
    operations: int
    calls: tuple[int, ...]


def plans(
    spec: FlavaSpec,
    *,
    gpus: int,
    batch_size: int,
    shard_ranks: int = 8,
    precision: Choice = "fp32",
    words: int | None = None,
    vocab: Vocab | None = None,
) -> Iterator[Plan]:
    """Every way of sharing batches of ``batch_size`` pairs among ``gpus``, first with blocks kept, then recomputed.

    Each is worked out when it is asked for, and then raises SpecError as `compose` does. ``shard_ranks`` is the size of
    the groups of ``hybrid``. Raises InputError if the batch cannot be shared equally.
    """
    if batch_size % gpus:
        raise InputError(f"a batch of {batch_size} cannot be shared by {gpus} GPUs; make it a multiple of {gpus}")
    ways: list[tuple[Parallel, int]] = [("ddp", 1), ("fsdp", gpus)]
    if gpus > shard_ranks and not gpus % shard_ranks:
        ways.append(("hybrid", shard_ranks))
    rows = batch_size // gpus

    def plan(again: bool, parallel: Parallel, shards: int) -> Plan:
        model = compose(spec, device="meta", vocab=vocab)
        step = simulate(model, spec, rows=rows, words=words, again=again, precision=precision, shards=shards)
        return _plan(model, step, parallel, shards=shards, gpus=gpus, rows=rows, again=again)

    return (plan(again, *way) for again in (False, True) for way in ways)


def largest_batch(
    spec: FlavaSpec,
    *,
    memory: int,
    again: bool = False,
    precision: Choice = "fp32",
    words: int | None = None,
    vocab: Vocab | None = None,
) -> int:
    """The most pairs whose step one GPU with so many bytes of ``memory`` can make; 0 if not even two fit.

    ``again`` recomputes blocks. Raises SpecError as `compose` does.
    """

    def peak(rows: int) -> int:
        model = compose(spec, device="meta", vocab=vocab)
        step = simulate(model, spec, rows=rows, words=words, again=again, precision=precision)
        return _plan(model, step, "ddp", shards=1, gpus=1, rows=rows, again=again).peak

    return most_within(peak, memory)


def most_within(cost: Callable[[int], int], limit: int) -> int:
    """The largest number, at least 2, whose ``cost``, which grows with it, is within the limit; 0 if there is none.

    Where the cost grows by about as much each time, the line through two costs leads to the limit in a few calls.
    """
    fits, found = 2, cost(2)
    if found > limit:
        return 0
    too_many, exceeding = 4, cost(4)
    while exceeding <= limit:
        each = max((exceeding - found) // (too_many - fits), 1)
        fits, found = too_many, exceeding
        # Where it stands still the line leads nowhere, and so many at once are tried instead.
        too_many = min(fits + max((limit - found) // each, 1), 64 * fits)
        exceeding = cost(too_many)
    while too_many - fits > 1:
        share = (limit - found) / (exceeding - found)
        middle = min(max(fits + int(share * (too_many - fits)), fits + 1), too_many - 1)
        needed = cost(middle)
        if needed <= limit:
            fits, found = middle, needed
        else:
            too_many, exceeding = middle, needed
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
            "gathered": root + 3 * largest,
            "step": step.peak,
            "logits": logits,
        }
        # A block is gathered each time that it runs, forward and backward, and so often its gradient is sent.
        ran = sum(calls * size for calls, size in zip(step.calls, each, strict=True))
        sent = _ring(3 * ran + 2 * root, shards) + _ring((ran + root) // shards, gpus // shards, times=2)
    return Plan(parallel, again, memory, step.operations, sent + exchanged)


def _ring(size: int, ranks: int, times: int = 1) -> int:
    """What a rank sends when that many bytes are gathered or scattered in a ring; an all-reduce does it twice."""
    return times * size * (ranks - 1) // ranks


def simulate(
    model: FlavaForPreTraining,
    spec: FlavaSpec,
    *,
    rows: int,
    words: int | None = None,
    again: bool = False,
    precision: Choice = "fp32",
    shards: int = 1,
) -> Step:
    """A training step of ``rows`` pairs by a model that is on the meta device, and stays without memory.

    Every tensor that the step would make is counted for as long as it would live. Last blocks and heads run at as many
    positions as the spec's maskers hide. ``again`` recomputes blocks. Of each block's gradients one of ``shards`` parts
    is kept.
    """
    found = hidden(spec, words)
    for name, loss in list(model.losses.items()):
        if isinstance(loss, MaskedPrediction):
            model.losses[name] = _AtHidden(loss, found.labelled["image" if "image" in loss.labels else "text"])
    if again:
        recompute(model)
    else:
        forget(model)
    calls = [0] * len(list(blocks(model)))
    for index, block in enumerate(blocks(model)):
        block.register_forward_hook(partial(_count, calls, index))
    # Fake tensors say that they are on the CPU, where autocast looks for what it is to shorten.
    with FakeTensorMode(allow_non_fake_inputs=True), _fused_attention(), _unknown_positions(found):
        model.to_empty(device="cpu")
        if model.codebook is not None:
            model.codebook.ready = True  # its codes are as good as the pixels
        if precision != "fp32":
            keep_exact(model)
        meta = meta_batch(spec, frozenset({"image", "text"}), rows, words)
        batch = {name: torch.empty_like(tensor, device="cpu") for name, tensor in meta.items()}
        parts: list[Tensor] = []
        for weight in (weight for block in blocks(model) for weight in _trained(block) if shards > 1):
            weight.register_post_accumulate_grad_hook(partial(_keep_part, parts, shards))
        with Allocations([*model.parameters(), *model.buffers(), *batch.values()]) as live:
            with Precision(precision, keep_casts=not again).autocast():
                output = model(**batch, output_states=False)
            if output.loss is not None:
                output.loss.backward()
            del output
        in_blocks = {id(weight) for block in blocks(model) for weight in block.parameters()}
        sent = [w.grad.nbytes for w in model.parameters() if w.grad is not None and id(w) not in in_blocks]
        # Gradients of what is in no block are sent together at the end, from a copy.
        sending = live.now + sum(sent) if shards > 1 else 0
    return Step(max(live.peak, sending), live.operations, tuple(calls))


class Allocations(TorchDispatchMode):
    """The bytes that live ``now`` in what operations return, ``peak`` at most; not those of ``known`` tensors.

    ``operations`` are multiplications and additions, by torch's formulas; not by its FlopCounterMode, whose hooks on
    modules keep alive what is recomputed.
    """

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self.peak = 0
        self.operations = 0
        self.now = 0
        self._counted = {_storage(tensor) for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.operations += formula(*args, **(kwargs or {}), out_val=result)
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and _storage(tensor) not in self._counted:
                storage = tensor.untyped_storage()
                self._counted.add(_storage(tensor))
                self.now += storage.nbytes()
                weakref.finalize(storage, self._freed, _storage(tensor), storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result

    def _freed(self, storage: int, size: int) -> None:
        self._counted.discard(storage)
        self.now -= size


@contextmanager
def _fused_attention() -> Generator[None]:
    """Attention as fused kernels do it, which keep no matrix of N x N, on whatever device; of that there are formulas.

    Put in the place of torch's function while this context is open: modes do not reach what is recomputed.
    """

    def attend(query: Tensor, key: Tensor, value: Tensor, **_: Any) -> Tensor:
        attention = torch.ops.aten._scaled_dot_product_efficient_attention
        return attention(query, key, value, None, compute_log_sumexp=True)[0]

    torchs, F.scaled_dot_product_attention = F.scaled_dot_product_attention, attend
    try:
        yield
    finally:
        F.scaled_dot_product_attention = torchs


@dataclass(frozen=True, slots=True)
class Hidden:
    """How many positions of a pair the maskers hide, ``most`` in one row and ``labelled`` on average among true pairs.

    By what is hidden: ``image`` for patches, ``text`` for words.
    """

    length: dict[str, int]
    most: dict[str, int]
    labelled: dict[str, int]


def hidden(spec: FlavaSpec, words: int | None = None) -> Hidden:
    """How many patches, and of ``words`` words (the most that the encoder takes if not given), seen on some masks."""
    wiring = wire(spec)
    generator = torch.Generator().manual_seed(0)
    length = {"image": wiring.image.grid.size, "text": min(words or wiring.text.length, wiring.text.length)}
    masks = {name: torch.ones(DRAWN, positions) for name, positions in length.items()}
    true = torch.ones(DRAWN)
    if spec.pair_masker is not None:
        true = spec.pair_masker.build()(DRAWN, generator).labels.float()
    if spec.image_masker is not None:
        masks["image"] = spec.image_masker.build(grid=wiring.image.grid)(DRAWN, generator).float()
    if spec.text_masker is not None:
        ids = torch.randint(1000, 2000, (DRAWN, length["text"]), generator=generator)
        masked = spec.text_masker.build(vocab=wiring.vocab)(ids, torch.zeros_like(ids, dtype=torch.bool), generator)
        masks["text"] = (masked.labels >= 0).float()
    return Hidden(
        length,
        {name: int(mask.sum(dim=1).max()) for name, mask in masks.items()},
        {name: max(1, math.ceil(mask.sum(dim=1).mean() * true.mean())) for name, mask in masks.items()},
    )


@contextmanager
def _unknown_positions(found: Hidden) -> Generator[None]:
    """While this is open, last blocks give as many positions as a row has labels, though nobody knows where."""

    def where(has_label: Tensor) -> Labelled:
        most = max(found.most[name] for name, length in found.length.items() if length == has_label.shape[1])
        positions = has_label.int().argsort(dim=1, descending=True, stable=True)[:, :most]
        rows = torch.arange(len(has_label))  # all, as where every pair is a true one
        return Labelled(positions, torch.empty_like(positions, dtype=torch.bool), rows)

    known, Labelled.where = Labelled.where, where
    try:
        yield
    finally:
        Labelled.where = known


class _AtHidden(nn.Module):
    """A loss over so many positions of each row, since nobody knows where labels are."""

    def __init__(self, loss: MaskedPrediction, count: int) -> None:
        super().__init__()
        self.loss = loss
        self.count = count
        self.weight = loss.weight

    def forward(self, streams: dict[str, Tensor], *, dense: bool = False) -> LossValue:
        """As the loss does."""
        # Indexing copies, as it does where positions are known.
        picked = {name: streams[name][:, : self.count].clone() for name in (self.loss.states, self.loss.labels)}
        return self.loss(picked, dense=True)


def _count(calls: list[int], index: int, *_: object) -> None:
    calls[index] += 1


def _keep_part(parts: list[Tensor], shards: int, weight: Tensor) -> None:
    parts.append(weight.new_empty(weight.numel() // shards))
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
