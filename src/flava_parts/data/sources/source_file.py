"""A source that a file names: its own, or that of a run's stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import ValidationError

from ...errors import InputError, SpecError
from ...inheritance import Reader
from ...inputs.specs import TokenizerSpec, WordPieceSpec
from ...loading import load_any
from ...messages import explained
from ...part import REGISTRY, Slot, Spec
from ...registry import Registry
from ...spec import FlavaSpec, RunSpec
from .specs import SourceSpec

SOURCE = "source"


class SourceFile(Spec):
    """A file that names a source and nothing else, under the name that it has in a stream."""

    source: Slot[SourceSpec]
    """Where samples come from."""


class Named(NamedTuple):
    """A source, and what the run around it does with its samples."""

    source: SourceSpec
    tokenizer: TokenizerSpec
    model: FlavaSpec | None = None


def source_in(file: str, stream: str | None = None, *, registry: Registry, set: Sequence[str] = ()) -> Named:
    """The source of a file with a ``source``, or of a stream of a run or a preset, of the only one if not named.

    A file with a ``source`` has the default tokenizer. Raises SpecError for what is wrong in the file, and InputError
    for a stream that it does not have.
    """
    tree = Reader(registry, {}).read(file, set)
    if SOURCE in tree.fields:
        if stream is not None:
            raise InputError(f"--stream {stream}: {file} names a source and has no streams; leave the option out")
        try:
            own = SourceFile.model_validate(tree.plain(), context={REGISTRY: registry})
        except ValidationError as error:
            raise SpecError(explained(error, tree, SourceFile, registry)) from None
        return Named(own.source, WordPieceSpec())
    spec = load_any(file, registry=registry, set=set)
    if isinstance(spec, FlavaSpec):
        raise InputError(f"{file}: a model has no data; give a run, or a file with a source")
    if not isinstance(spec, RunSpec):
        sources = {"train": spec.data.train} | ({"held_out": spec.data.held_out} if spec.data.held_out else {})
    else:
        sources = {name: each.source for name, each in spec.data.streams.items()}
    if stream is None and len(sources) == 1:
        stream = next(iter(sources))
    if stream not in sources:
        asked = "has several streams" if stream is None else f"has no stream {stream!r}"
        raise InputError(f"{file}: {asked}; name one of them with --stream: {', '.join(sources)}")
    return Named(sources[stream], spec.data.tokenizer or WordPieceSpec(), spec.model)
