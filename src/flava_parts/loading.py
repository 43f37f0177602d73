"""From a file, a preset or plain data to a checked spec."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from pydantic import ValidationError

from .document import Node
from .errors import InputError, Loc, Problem, SpecError
from .inheritance import Reader, default_types_of
from .messages import explained, placed
from .part import REGISTRY
from .plugins import default_registry
from .registry import Registry
from .spec import FlavaSpec, RunSpec
from .wiring import check

Source = str | os.PathLike[str] | Mapping[str, object]
"""A preset's name, a file's path, YAML text of several lines, or plain data."""

S = TypeVar("S", FlavaSpec, RunSpec, FlavaSpec | RunSpec, covariant=True)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """A valid spec, the tree that it was made from, and what is odd about it without being wrong."""

    spec: S
    tree: Node
    warnings: tuple[Problem, ...] = ()

    def origin(self, loc: Loc) -> str:
        """Where the value at a path comes from: ``file:line:column``, a ``--set``, or ``default``."""
        node = self.tree.at(loc)
        return str(node.mark) if node is not None and node.mark is not None else "default"


def load_spec(source: Source, *, registry: Registry | None = None, set: Sequence[str] = ()) -> FlavaSpec:
    """The model that a preset or a file describes.

    ``registry`` holds the parts that may be named, those of all installed plugins if not given; ``set`` are changes
    ``a.b=VALUE``, applied last. Raises SpecError with everything that is wrong.
    """
    return cast(FlavaSpec, load(source, FlavaSpec, registry=registry, set=set).spec)


def load_run(source: Source, *, registry: Registry | None = None, set: Sequence[str] = ()) -> RunSpec:
    """The run that a preset or a file describes; otherwise as `load_spec`."""
    return cast(RunSpec, load(source, RunSpec, registry=registry, set=set).spec)


def load_any(source: Source, *, registry: Registry | None = None, set: Sequence[str] = ()) -> FlavaSpec | RunSpec:
    """The run that a source with a `model` describes, or the model that another does; otherwise as `load_spec`."""
    return load(source, registry=registry, set=set).spec


def load(
    source: Source,
    shape: type[FlavaSpec] | type[RunSpec] | None = None,
    *,
    registry: Registry | None = None,
    set: Sequence[str] = (),
) -> Loaded[FlavaSpec | RunSpec]:
    """The spec with its origins and warnings; ``shape`` is what it has to be, if not either. See `load_spec`."""
    registry = registry if registry is not None else default_registry()
    default_types = {loc: name for spec in (FlavaSpec, RunSpec) for loc, name in default_types_of(spec)}
    tree = Reader(registry, default_types).read(source, set)
    if not tree.is_block:
        raise SpecError([Problem((), "should be a block of fields", source=tree.mark)])
    found: type[FlavaSpec] | type[RunSpec] = RunSpec if "model" in tree.fields else FlavaSpec
    if shape is not None and found is not shape:
        raise SpecError([_other_shape(found, tree)])
    try:
        spec = found.model_validate(tree.plain(), context={REGISTRY: registry})
    except ValidationError as error:
        raise SpecError(_sorted(explained(error, tree, found, registry))) from None
    try:
        problems = _sorted(placed(problem, tree) for problem in check(spec))
    except InputError as error:
        raise SpecError([Problem((), str(error), source=tree.mark)]) from None
    if any(problem.level == "error" for problem in problems):
        raise SpecError(problems)
    return Loaded(spec, tree, tuple(problems))


def _other_shape(found: type[FlavaSpec] | type[RunSpec], tree: Node) -> Problem:
    if found is RunSpec:
        return Problem(("model",), "this is a run, where a model is asked for", source=tree.fields["model"].key)
    return Problem(("model",), "is missing: this is a model, where a run is asked for", source=tree.mark)


def _sorted(problems: Iterable[Problem]) -> list[Problem]:
    """In the order of the files' lines."""

    def place(problem: Problem) -> tuple[str, int, int]:
        source = problem.source
        return (source.file, source.line or 0, source.column or 0) if source else ("", 0, 0)

    return sorted(problems, key=place)
