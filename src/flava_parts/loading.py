"""From a file, a preset or plain data to a checked spec."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from pydantic import ValidationError

from .document import Node
from .errors import InputError, Loc, Problem, SpecError
from .finetuning import finetune_problems
from .inheritance import Reader, default_types_of
from .messages import explained, placed
from .part import REGISTRY
from .plugins import default_registry
from .registry import Registry
from .spec import FinetuneSpec, FlavaSpec, RunSpec
from .wiring import check

Source = str | os.PathLike[str] | Mapping[str, object]
"""A preset's name, a file's path, YAML text of several lines, or plain data."""

AnySpec = FlavaSpec | RunSpec | FinetuneSpec

NAMES: dict[type[AnySpec], str] = {FlavaSpec: "model", RunSpec: "run", FinetuneSpec: "fine-tuning"}
"""What the three are called."""

S = TypeVar("S", bound=AnySpec, covariant=True)


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


def load_finetune(source: Source, *, registry: Registry | None = None, set: Sequence[str] = ()) -> FinetuneSpec:
    """The fine-tuning that a preset or a file describes; otherwise as `load_spec`."""
    return cast(FinetuneSpec, load(source, FinetuneSpec, registry=registry, set=set).spec)


def load_any(source: Source, *, registry: Registry | None = None, set: Sequence[str] = ()) -> AnySpec:
    """The fine-tuning that a source with a `head` or `pretrained` describes, the run that one with a `model` does, or
    the model that another does; otherwise as `load_spec`."""
    return load(source, registry=registry, set=set).spec


def load(
    source: Source,
    shape: type[AnySpec] | None = None,
    *,
    registry: Registry | None = None,
    set: Sequence[str] = (),
) -> Loaded[AnySpec]:
    """The spec with its origins and warnings; ``shape`` is what it has to be, if not any. See `load_spec`."""
    registry = registry if registry is not None else default_registry()
    default_types = {loc: name for spec in NAMES for loc, name in default_types_of(spec)}
    tree = Reader(registry, default_types).read(source, set)
    if not tree.is_block:
        raise SpecError([Problem((), "should be a block of fields", source=tree.mark)])
    found = _shape_of(tree)
    if shape is not None and found is not shape:
        raise SpecError([_other_shape(found, shape, tree)])
    try:
        spec = found.model_validate(tree.plain(), context={REGISTRY: registry})
    except ValidationError as error:
        raise SpecError(_sorted(explained(error, tree, found, registry))) from None
    try:
        problems = finetune_problems(spec) if isinstance(spec, FinetuneSpec) else check(spec)
        problems = _sorted(placed(problem, tree) for problem in problems)
    except InputError as error:
        raise SpecError([Problem((), str(error), source=tree.mark)]) from None
    if any(problem.level == "error" for problem in problems):
        raise SpecError(problems)
    return Loaded(spec, tree, tuple(problems))


def _shape_of(tree: Node) -> type[AnySpec]:
    """What a tree describes, by the names at its top."""
    if tree.fields.keys() & {"head", "pretrained"}:
        return FinetuneSpec
    return RunSpec if "model" in tree.fields else FlavaSpec


def _other_shape(found: type[AnySpec], asked: type[AnySpec], tree: Node) -> Problem:
    message = f"this is a {NAMES[found]}, where a {NAMES[asked]} is asked for"
    told_by = next((name for name in ("head", "pretrained", "model") if name in tree.fields), None)
    if told_by is None:
        missing = "head" if asked is FinetuneSpec else "model"
        return Problem((missing,), f"is missing: {message}", source=tree.mark)
    return Problem((told_by,), message, source=tree.fields[told_by].key)


def _sorted(problems: Iterable[Problem]) -> list[Problem]:
    """In the order of the files' lines."""

    def place(problem: Problem) -> tuple[str, int, int]:
        source = problem.source
        return (source.file, source.line or 0, source.column or 0) if source else ("", 0, 0)

    return sorted(problems, key=place)
