"""The batches of a run: each a function of seed and step, whoever asks and whatever was asked before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from ..facts import Use
from ..inputs.pictures import Picture
from ..inputs.views import Draws, Views, toned
from ..spec import FlavaSpec
from .codes import Codes
from .collation import image_levels, image_tensors, text_tensors
from .keyed import keyed_uniform, name_number
from .masking import MaskerCourse, Masking
from .mixture import Mixture
from .order import Order, check_batch
from .packing import pack
from .reader import BadSample, Lengths, Read, Reader
from .rows import Row, Rows
from .sources.record import opened
from .sources.source import Source
from .sources.specs import SourceSpec
from .specs import DataSpec

if TYPE_CHECKING:
    from ..codebooks.codebook import Codebook


class Batch(NamedTuple):
    """What one update learns from."""

    stream: str
    """The name of the stream that it was drawn from, or, joined by ``+``, of those that share their batches."""
    losses: tuple[str, ...] | None
    """The losses to compute on it; all that apply if None."""
    tensors: dict[str, Tensor]
    """The model's inputs by name, B rows each, with masks and labels; of pictures levels if there are `tables`."""
    metrics: Mapping[str, float] = {}
    """``epoch/<stream>``, how often the stream's samples have come; ``padding``, the share of words that are padding;
    ``bad/<reason>``, how many samples were replaced."""
    bad: tuple[BadSample, ...] = ()
    """The samples that were replaced."""
    samples: tuple[str, ...] = ()
    """What its samples are called in their sources, row by row."""
    tables: Mapping[str, Tensor] = {}
    """Of those tensors that hold the levels of pictures: what becomes of them, see `Levels`."""

    def on(self, device: torch.device) -> dict[str, Tensor]:
        """The model's inputs on a device, pictures on the scale of their views.

        To a GPU all goes in pinned memory, so that nobody waits for the copy.
        """

        def moved(tensor: Tensor) -> Tensor:
            return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

        return {
            name: toned(moved(tensor), moved(self.tables[name])) if name in self.tables else moved(tensor)
            for name, tensor in self.tensors.items()
        }

    @classmethod
    def of(
        cls,
        stream: str,
        losses: tuple[str, ...] | None,
        tensors: dict[str, Tensor],
        metrics: Mapping[str, float],
        read: Sequence[Read],
        tables: Mapping[str, Tensor] = {},
    ) -> Batch:
        """The batch of the rows that were read, with the metrics that count the bad ones."""
        bad = tuple(found for one in read for found in one.bad)
        counts = Counter(f"bad/{found.reason}" for found in bad)
        keys = tuple(one.sample.key for one in read)
        return cls(stream, losses, tensors, {**metrics, **counts}, bad, keys, tables)


class _Group(NamedTuple):
    """Streams that are used alike: by update each is on its own, by example they share their batches."""

    name: str
    use: Use
    losses: tuple[str, ...] | None
    rows: Rows
    masking: Masking
    packed: bool


class Batches:
    """The batches of a run, drawn from its streams in their ratios.

    course: what fills the model's slots for maskers at each step, if that changes.
    rank, world_size: of B rows of a batch, this process gets the ``rank``-th of ``world_size`` equal parts, exactly the
        rows that it would be in one process. Raises InputError if a batch cannot be cut so.
    levels: whether pictures come as `Levels`, a quarter of the bytes, to be put on their scale by `Batch.on`.

    Can be sent to other processes: what travels are the arguments, and sources are opened where they are read.
    """

    def __init__(
        self,
        *,
        data: DataSpec,
        model: FlavaSpec,
        batch_size: int,
        seed: int,
        course: MaskerCourse | None = None,
        rank: int = 0,
        world_size: int = 1,
        levels: bool = False,
    ) -> None:
        self._arguments: dict[str, Any] = {
            "data": data,
            "model": model,
            "batch_size": batch_size,
            "seed": seed,
            "rank": rank,
            "world_size": world_size,
            "course": course,
            "levels": levels,
        }
        self._levels = levels
        self._data, self._seed, self._rank, self._world_size = data, seed, rank, world_size
        self._tokenizer = data.tokenizer.build()
        self._views = Views.of(model, data.views)
        self._opened: list[tuple[SourceSpec, Source]] = []  # equal sources are opened once
        self._sources = {name: self._open(stream.source) for name, stream in data.streams.items()}
        self._reader = Reader(
            sources=self._sources,
            uses={name: stream.use for name, stream in data.streams.items()},
            seed=seed,
            on_error=data.on_error,
        )
        self._codes = (
            None if data.codes is None else Codes(data.codes, {name: s.source for name, s in data.streams.items()})
        )
        self._groups = {group.name: group for group in self._grouped(model, batch_size, course)}
        self._mixture = Mixture(
            ratios={
                name: sum(data.shares[stream] for stream in streams)
                for name, streams in zip(self._groups, data.groups, strict=True)
            },
            key=(seed, "mixture"),
        )

    def __reduce__(self) -> tuple[Callable[..., Batches], tuple[dict[str, Any], tuple[BadSample, ...]]]:
        return _remade, (self._arguments, self._reader.quarantined)

    @property
    def rank(self) -> int:
        """Which part of each batch this process gets, from 0."""
        return self._rank

    @property
    def reader(self) -> Reader:
        """Who reads the samples."""
        return self._reader

    def batch(self, step: int) -> Batch:
        """This process's rows of the batch of a step, counted from 0, masked."""
        name, number = self._mixture.turn(step)
        group = self._groups[name]
        size = group.rows.batch_size
        rows = group.rows.batch(number)
        first, after = (part * size // self._world_size for part in (self._rank, self._rank + 1))
        mine = slice(first, after)
        read = [self._reader(row) for row in rows[mine]]
        taken, samples = [one.row for one in read], [one.sample for one in read]
        metrics = {f"epoch/{stream}": epochs for stream, epochs in group.rows.epochs(number).items()}
        tensors, tables = dict[str, Tensor](), dict[str, Tensor]()
        if group.use != "images":
            texts = [sample.text or "" for sample in samples]
            pairs = group.masking.pairs(size, step)
            if pairs is not None:
                tensors["itm_labels"] = pairs.labels[mine]
                texts = [
                    texts[other - first] if first <= other < after else self._reader(rows[other]).sample.text or ""
                    for other in pairs.texts[mine].tolist()
                ]
            tensors |= text_tensors(texts, self._tokenizer, multiple=self._data.pad_multiple)
            special = tensors.pop("special_tokens_mask")
            masked = group.masking.words(tensors["input_ids"], special, mine, size, step)
            if masked is not None:
                tensors |= {"input_ids_masked": masked.ids, "mlm_labels": masked.labels}
            if group.packed:
                tensors = pack(tensors, length=self._tokenizer.length, multiple=self._data.pad_multiple)
            real = tensors["attention_mask"].diagonal(dim1=1, dim2=2) if group.packed else tensors["attention_mask"]
            metrics["padding"] = 1 - float(real.float().mean())
        if group.use != "texts":
            pictures = [sample.image for sample in samples if sample.image is not None]
            seen, tables = self._seen(pictures, taken, codes=group.masking.reads_codes)
            tensors |= seen
            patches = group.masking.patches(size, step)
            if patches is not None:
                tensors["bool_masked_pos"] = patches[mine]
        return Batch.of(name, group.losses, tensors, metrics, read, tables)

    @property
    def coded(self) -> tuple[str, ...]:
        """The streams of which a loss needs the code of each patch."""
        return tuple(
            name
            for group, names in zip(self._groups.values(), self._data.groups, strict=True)
            for name in names
            if group.masking.reads_codes
        )

    def check_codes(self, codebook: Codebook) -> None:
        """Raise InputError if the run reads stored codes that ``codebook`` would not give of the run's views."""
        if self._codes is not None:
            sizes = {name: len(source) for name, source in self._sources.items()}
            self._codes.check(codebook, self._views, sizes, self.coded)

    def codebook_pixels(self, count: int) -> Tensor:
        """The codebook's view (n, 3, h, w) of ``count`` of the run's pictures, or of all if there are fewer.

        Whole pictures, drawn by the seed, each source's once: what a codebook is fitted on. Bad samples are passed by.
        """
        pictures: list[Picture] = []
        seen: list[SourceSpec] = []
        for name, stream in self._data.streams.items():
            if stream.use == "texts" or stream.source in seen:
                continue
            seen.append(stream.source)
            order = Order(size=len(self._sources[name]), key=(self._seed, "codebook", len(seen)))
            wanted = min(count - len(pictures), order.size)
            for place in order.batch(0, size=wanted):
                image = self._reader(Row(name, *place)).sample.image
                assert image is not None
                pictures.append(image)
        return self._views.codebook_view(pictures)

    def _open(self, spec: SourceSpec) -> Source:
        for known, source in self._opened:
            if known == spec:
                return source
        source = opened(spec, self._views)
        self._opened.append((spec, source))
        return source

    def _grouped(self, model: FlavaSpec, batch_size: int, course: MaskerCourse | None) -> list[_Group]:
        streams = self._data.streams
        vocab, length = self._data.tokenizer.vocab(), self._tokenizer.length
        found: list[_Group] = []
        for names in self._data.groups:
            name, first = "+".join(names), streams[names[0]]
            place, size = f"data.streams.{name}", first.batch_size or batch_size
            try:
                check_batch(sum(len(self._sources[stream]) for stream in names), size)
            except InputError as error:
                raise InputError(f"{place}: {error}") from error
            if size % self._world_size:
                raise InputError(
                    f"{place}: a batch of {size} cannot be shared by {self._world_size} processes; "
                    f"make batch_size a multiple of {self._world_size}"
                )
            for stream in names if first.bucket else ():
                if streams[stream].use != "texts" and not isinstance(self._sources[stream], Lengths):
                    raise InputError(
                        f"data.streams.{stream}.bucket: {streams[stream].source.type_name()} does not know the lengths "
                        "of its texts without opening pictures; leave bucket out"
                    )
            rows = Rows(
                orders={
                    stream: Order(size=len(self._sources[stream]), key=(self._seed, "order", stream))
                    for stream in names
                },
                ratios={stream: self._data.shares[stream] for stream in names},
                batch_size=size,
                key=(self._seed, name),
                bucket=first.bucket,
                length=self._reader.length,
            )
            masking = Masking(
                model,
                use=first.use,
                losses=first.losses,
                vocab=vocab,
                length=length,
                seed=self._seed,
                course=course,
            )
            found.append(_Group(name, first.use, first.losses, rows, masking, first.pack))
        return found

    def _seen(
        self, pictures: Sequence[Picture], rows: list[Row], *, codes: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The views of pictures, of crops that are keyed by seed, stream, epoch and sample; or of those crops that
        there are stored codes of, with these. And the tables of levels."""

        def seen(draws: Draws | None, *, codebook: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
            if self._levels:
                return image_levels(pictures, self._views, draws, codebook=codebook)
            return image_tensors(pictures, self._views, draws, codebook=codebook), {}

        if codes and self._codes is not None:
            stored = self._codes.of(rows, drawn((self._seed, "view"), rows, count=1)[:, 0])
            tensors, tables = seen(stored.draws, codebook=False)
            return tensors | {"mim_labels": stored.codes}, tables
        return seen(crops(self._seed, rows), codebook=codes)


def crops(seed: int, rows: Sequence[Row]) -> Tensor:
    """The (B, 5) numbers that say which crop of its picture each row has, keyed by seed, stream, epoch and sample."""
    return torch.from_numpy(drawn((seed, "crop"), rows, count=5))


def drawn(key: tuple[str | int, ...], rows: Sequence[Row], *, count: int) -> NDArray[np.float64]:
    """(B, count) numbers, uniform in [0, 1), keyed by each row's stream, epoch and sample."""
    streams, epochs, indices = np.array(
        [(name_number(row.stream), row.epoch, row.sample) for row in rows], dtype=np.int64
    ).T
    return keyed_uniform(key, streams, epochs, indices, count=count)


def _remade(arguments: dict[str, Any], quarantined: Sequence[BadSample]) -> Batches:
    batches = Batches(**arguments)
    for bad in quarantined:
        batches.reader.quarantine(bad)
    return batches
