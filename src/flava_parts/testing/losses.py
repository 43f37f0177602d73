"""The laws of losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..facts import IGNORE, Streams
from ..wiring import Wiring, wire
from .law import ExemptError, LawError, law
from .modules import BATCH, MODULE, ModuleBench, Tensors, same

WORDS = 5
_LABELS = frozenset({Streams.IMAGE_LABELS, Streams.TEXT_LABELS})


class LossBench(ModuleBench):
    """A loss, alone in the model, on streams as wide as the model makes them."""

    kind = "loss"
    rows = False

    @cached_property
    def wiring(self) -> Wiring:
        """The model's, with this loss alone."""
        return wire(self.model.model_copy(update={"losses": {"loss": self.spec}}))

    def given(self) -> dict[str, Any]:
        return {"wiring": self.wiring}

    def inputs(self, batch: int = BATCH, seed: int = 0) -> Tensors:
        generator = torch.Generator().manual_seed(seed)
        return {name: self._stream(name, batch, generator) for name in sorted(self.spec.reads)}

    def _stream(self, name: str, batch: int, generator: torch.Generator) -> Tensor:
        """A stream of the shape that the model gives it; some labels are missing."""
        patches = self.wiring.image.grid.size
        length = {
            Streams.MASKED_PATCHES: patches,
            Streams.FUSED_PATCHES: patches,
            Streams.IMAGE_LABELS: patches,
            Streams.MASKED_WORDS: WORDS,
            Streams.FUSED_WORDS: WORDS,
            Streams.TEXT_LABELS: WORDS,
        }.get(name)
        if name in self.wiring.extra:
            shape = (batch, *self.wiring.extra[name].shape)
        elif name not in self.wiring.provides:
            raise ExemptError(f"it reads {name}, which nothing in the model around it provides")
        else:
            shape = (batch,) if length is None else (batch, length)
            if name == Streams.MATCHED:
                return torch.rand(shape, generator=generator) < 0.7
            if name == Streams.MATCH_LABELS:
                return torch.randint(0, 2, shape, generator=generator)
            if name in _LABELS:
                labels = torch.randint(0, self.wiring.label_count(name), shape, generator=generator)
                return labels.masked_fill(torch.arange(labels.shape[1]) % 3 == 1, IGNORE)
            shape = (*shape, self.wiring.stream_width(name))
        return torch.randn(shape, generator=generator)

    def run(self, part: Any, inputs: Tensors) -> Tensors:
        """As the model runs it; on the meta device, where nobody knows how many labels there are, at every position."""
        value = part(inputs, dense=any(each.is_meta for each in inputs.values()))
        return {"value": value.value, "count": value.count}

    def stated(self, batch: int) -> dict[str, tuple[int, ...]]:
        return {"value": (), "count": ()}


class _Watched(Mapping[str, Tensor]):
    """Streams that remember which of them were read."""

    def __init__(self, streams: Tensors) -> None:
        self.streams, self.read = streams, set[str]()

    def __getitem__(self, name: str) -> Tensor:
        self.read.add(name)
        return self.streams[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.streams)

    def __len__(self) -> int:
        return len(self.streams)


@law("list in `reads` every stream that the module takes, and no other: only those are computed")
def declared_streams(bench: LossBench) -> None:
    """The module reads the streams that the spec lists, and no others; who is matched is told to all."""
    watched = _Watched(bench.inputs())
    with suppress(KeyError):  # the stream that it missed is among those it read
        bench.part(watched, dense=False)
    undeclared = watched.read - bench.spec.reads - {Streams.MATCHED}
    if undeclared:
        raise LawError(f"it reads {', '.join(sorted(undeclared))}, which `reads` does not list")
    if unread := bench.spec.reads - watched.read:
        raise LawError(f"it lists {', '.join(sorted(unread))}, which it does not read")


@law("multiply the value by `weight` once")
def weight(bench: LossBench) -> None:
    """Twice the weight is twice the value, of the same count."""
    inputs = bench.inputs()
    heavier = type(bench)(bench.spec.model_copy(update={"weight": 2 * bench.spec.weight}), model=bench.model)
    once, twice = bench.outputs(bench.part, inputs), bench.outputs(heavier.part, inputs)
    same({"value": once["value"] * 2, "count": once["count"]}, twice, "with twice the weight")


@law("divide by the count clamped to at least 1, and multiply by what would be selected instead of skipping it")
def empty(bench: LossBench) -> None:
    """Without a single label the value is a zero that has a graph, and the count is 0."""
    labels = bench.spec.reads & _LABELS
    if not labels:
        raise ExemptError("it reads no labels that can be missing")
    inputs = bench.inputs()
    inputs = inputs | {name: torch.full_like(inputs[name], IGNORE) for name in labels}
    with torch.enable_grad():
        value = bench.part(inputs, dense=False)
    found, count = float(value.value.detach()), int(value.count)
    if found != 0 or count != 0:
        raise LawError(f"the value is {found} and the count {count}")
    if not value.value.requires_grad:
        raise LawError("the value has no graph, so that other ranks would wait for its gradients")


@law("accept the keyword `dense` and give `logits(streams)`: callers may ask for every position, labelled or not")
def dense(bench: LossBench) -> None:
    """Asked for every position, the loss is the same; and it can give logits where there are no labels."""
    inputs = bench.inputs()
    with torch.no_grad():
        sparse, full = bench.part(inputs, dense=False), bench.part(inputs, dense=True)
        same({"value": sparse.value}, {"value": full.value}, "with dense=True")
        unlabelled = {name: value for name, value in inputs.items() if name not in {*_LABELS, Streams.MATCH_LABELS}}
        bench.part.logits(unlabelled)


LossBench.laws = (*MODULE, declared_streams, weight, empty, dense)
