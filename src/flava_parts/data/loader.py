"""The batches of a run: each a function of seed and step, so that a resumed run sees what it would have seen."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from ..facts import Streams
from ..inputs.pictures import Picture
from ..inputs.views import Views
from ..spec import FlavaSpec
from .collation import collate, image_of
from .keyed import keyed_generator
from .mixture import Mixture
from .order import Order
from .sources.source import Source
from .specs import DataSpec, SourceSpec


class Batch(NamedTuple):
    """What one update learns from."""

    stream: str
    """The name of the stream that it was drawn from."""
    losses: tuple[str, ...] | None
    """The losses to compute on it; all that apply if None."""
    tensors: dict[str, Tensor]
    """The model's inputs by name, B rows each; nothing is masked yet."""


class Batches:
    """The batches of a run, drawn from its streams in their ratios."""

    def __init__(self, *, data: DataSpec, model: FlavaSpec, batch_size: int, seed: int) -> None:
        self._data = data
        self._seed = seed
        self._tokenizer = data.tokenizer.build()
        self._views = Views.of(model, data.views)
        self._coded = {
            name
            for name, stream in data.streams.items()
            if any(
                Streams.IMAGE_LABELS in loss.reads and loss.weight
                for key, loss in model.losses.items()
                if stream.losses is None or key in stream.losses
            )
        }
        """The streams whose losses need the codebook's view."""
        self._mixture = Mixture(ratios={name: stream.ratio for name, stream in data.streams.items()}, seed=seed)
        self._opened: list[tuple[SourceSpec, Source]] = []  # equal sources are opened once
        self._sources: dict[str, Source] = {}
        self._orders: dict[str, Order] = {}
        for name, stream in data.streams.items():
            source = next((source for spec, source in self._opened if spec == stream.source), None)
            if source is None:
                source = stream.source.build()
                self._opened.append((stream.source, source))
            self._sources[name] = source
            try:
                self._orders[name] = Order(
                    size=len(source), batch_size=stream.batch_size or batch_size, key=(seed, "order", name)
                )
            except InputError as error:
                raise InputError(f"data.streams.{name}: {error}") from error

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        name, number = self._mixture.turn(step)
        stream, source = self._data.streams[name], self._sources[name]
        generator = keyed_generator(self._seed, "batch", step)
        samples = [source.sample(index, generator) for index in self._orders[name].batch(number)]
        tensors = collate(
            samples,
            use=stream.use,
            place=name,
            tokenizer=self._tokenizer,
            views=self._views,
            generator=generator,
            codebook=name in self._coded,
        )
        return Batch(name, stream.losses, tensors)

    def codebook_pixels(self, count: int) -> Tensor:
        """The codebook's view (n, 3, h, w) of ``count`` of the run's pictures, or of all if there are fewer.

        Whole pictures, drawn by the seed, each source's once: what a codebook is fitted on.
        """
        pictures: list[Picture] = []
        for index, (spec, source) in enumerate(self._opened):
            if any(stream.use != "texts" and stream.source == spec for stream in self._data.streams.values()):
                generator = keyed_generator(self._seed, "codebook", index)
                order = torch.randperm(len(source), generator=generator)[: count - len(pictures)]
                pictures += [image_of(source.sample(i), spec.type_name()) for i in order.tolist()]
        return self._views.codebook_view(pictures)
