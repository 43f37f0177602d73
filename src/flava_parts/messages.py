"""What pydantic found wrong, as problems that say where, what, and what to try."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, cast, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .document import Node
from .errors import Loc, Mark, Problem
from .inheritance import BASE, TYPE, default_types_of, entries_of
from .part import PartSpec, Spec
from .registry import Registry, article, nearest
from .spec import FlavaSpec, RunSpec

_BOOLEANS = {
    **dict.fromkeys(("yes", "on", "y"), "true"),
    **dict.fromkeys(("no", "off", "n"), "false"),
}
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a block of names",
    "model_type": "a block of fields",
    "model_attributes_type": "a block of fields",
}
_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
    "multiple_of": ("multiple_of", "a multiple of"),
}


def explained(error: ValidationError, tree: Node, shape: type[Spec], registry: Registry) -> list[Problem]:
    """The problems in a tree that failed to validate as ``shape``, each with its place."""
    blocks = dict(blocks_of(shape, tree, registry))
    explainer = _Explainer(tree, shape, blocks, registry)
    found = [explainer.problem(details) for details in error.errors(include_url=False)]
    return list(dict.fromkeys(found))


def placed(problem: Problem, tree: Node) -> Problem:
    """The problem with the places of what it is about; where that was not written, of the block around it."""
    see = tree.at(problem.see) if problem.see is not None else None
    return Problem(
        problem.loc,
        problem.message,
        problem.see,
        problem.source or place_of(problem.loc, tree),
        problem.see_source or (see.mark if see is not None else None),
        problem.level,
    )


def place_of(loc: Loc, tree: Node) -> Mark | None:
    """Where the value at a path was written; where it was not, the key of the innermost block that was to hold it."""
    node = tree.at(loc)
    if node is not None and node.mark is not None:
        return node.mark
    for length in range(len(loc) - 1, 0, -1):
        around = tree.at(loc[:length])
        if around is not None and around.key is not None:
            return around.key
    return tree.mark


def blocks_of(
    spec: type[Spec], node: Node | None, registry: Registry, loc: Loc = ()
) -> Iterator[tuple[Loc, type[Spec]]]:
    """Every block that a tree has, written or by default, with the spec that it is validated as."""
    yield loc, spec
    written = node.fields if node is not None else {}
    for name, field in spec.model_fields.items():
        base, many = _spec_in(field.annotation)
        if base is None:
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        child = written.get(name)
        entries: dict[Loc, tuple[Node | None, Any]] = {(*loc, name): (child, default)}
        if many:
            known = entries_of(default)
            given = dict.fromkeys(known) if child is None else child.fields
            entries = {(*loc, name, key): (entry, known.get(key)) for key, entry in given.items()}
        for inner, (entry, fallback) in entries.items():
            found = _spec_of(entry, fallback, base, registry)
            if found is not None:
                yield from blocks_of(found, entry, registry, inner)


def show(value: Any) -> str:
    """A value as it would be written in YAML, cut short."""
    if isinstance(value, dict):
        return "a block"
    if isinstance(value, (list, tuple)):
        items = cast(Sequence[object], value)
        text = f"[{', '.join(map(show, items[:8]))}{', …' if len(items) > 8 else ''}]"
        return text if len(text) <= 60 else "a list"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:59] + "…")
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


class _Explainer:
    def __init__(self, tree: Node, shape: type[Spec], blocks: dict[Loc, type[Spec]], registry: Registry) -> None:
        self._tree = tree
        self._shape = shape
        self._blocks = blocks
        self._registry = registry

    def problem(self, details: ErrorDetails) -> Problem:
        """One pydantic error as a problem."""
        kind, value, context = details["type"], details["input"], details.get("ctx", {})
        loc = self._real(details["loc"], kind)
        if kind == "fault":
            return self._at((*loc, context["field"]), context["message"])
        if kind == "extra_forbidden":
            return self._at_key(loc, self._unknown_field(loc))
        if kind == "missing" and isinstance(loc[-1], int):
            return self._at(loc[:-1], f"the list is too short: there is no entry {loc[-1] + 1}")
        if kind == "missing":
            return self._at(loc, self._missing(loc))
        if kind == "too_long":
            return self._at(loc, f"should have {context['max_length']} entries, not {context['actual_length']}")
        if kind == "too_short":
            return self._at(loc, f"should have {context['min_length']} entries, not {context['actual_length']}")
        if kind == "part_block":
            return self._at(loc, self._no_block(context["kind"], value))
        if kind == "part_type_missing":
            return self._at_key(loc, self._no_type(loc, context["kind"]))
        if kind == "part_type":
            return self._at_key((*loc, TYPE), self._unknown_type(context["kind"], value[TYPE]), loc)
        if kind == "literal_error":
            return self._at(loc, self._no_choice(context["expected"], value))
        if kind == "string_pattern_mismatch" and details["loc"][-1] == "[key]":
            return self._at_key(loc, "a name should be lower-case letters, digits and _, beginning with a letter")
        if kind in _BOUNDS:
            name, words = _BOUNDS[kind]
            return self._at(loc, f"should be {words} {context[name]:g}, not {show(value)}")
        if kind in _EXPECTED:
            return self._at(loc, f"should be {_EXPECTED[kind]}, not {show(value)}{_remedy(kind, value)}")
        message = details["msg"].removeprefix("Input ").removeprefix("Value error, ")
        return self._at(loc, f"{message}, not {show(value)}")

    def _real(self, loc: Loc, kind: str) -> Loc:
        """The path without the tags that pydantic puts into it for unions and keys."""
        for length in range(len(loc)):
            if self._tree.at(loc[: length + 1]) is None:
                return loc if kind == "missing" and length == len(loc) - 1 else loc[:length]
        return loc

    def _at(self, loc: Loc, message: str) -> Problem:
        return Problem(loc, message, source=place_of(loc, self._tree))

    def _at_key(self, key: Loc, message: str, loc: Loc | None = None) -> Problem:
        node = self._tree.at(key)
        source = node.key if node is not None and node.key is not None else place_of(key, self._tree)
        return Problem(key if loc is None else loc, message, source=source)

    def _unknown_field(self, loc: Loc) -> str:
        name, spec = str(loc[-1]), self._blocks.get(loc[:-1])
        near = nearest(name, (*spec.model_fields, BASE)) if spec is not None else None
        if near is not None:
            return f"unknown field; did you mean '{near}'?"
        homes = [home for home, other in self._blocks.items() if name in other.model_fields and name != TYPE]
        if len(homes) == 1:
            return f"unknown field; it belongs in {'.'.join(map(str, homes[0])) or 'the top of the file'}"
        if self._shape is FlavaSpec and loc[:-1] == () and name in RunSpec.model_fields:
            return "unknown field; it belongs in a run, a file whose model is under 'model'"
        return "unknown field"

    def _missing(self, loc: Loc) -> str:
        spec = self._blocks.get(loc[:-1])
        field = spec.model_fields.get(str(loc[-1])) if spec is not None else None
        meaning = f" ({field.description.rstrip('.')})" if field is not None and field.description else ""
        if self._shape is RunSpec and loc == ("model",):
            return "is missing: this file is a model, or a part of a run"
        return f"is missing and has no default{meaning}"

    def _no_block(self, kind: str, value: Any) -> str:
        known = isinstance(value, str) and self._registry.get(value, kind) is not None
        remedy = f"; write {{type: {value}}}" if known else ""
        return f"{article(kind)} should be a block with a type, not {show(value)}{remedy}"

    def _no_type(self, loc: Loc, kind: str) -> str:
        siblings = tuple(str(other[-1]) for other, _ in default_types_of(self._shape) if other[:-1] == loc[:-1])
        near = nearest(str(loc[-1]), siblings)
        remedy = f", or did you mean '{near}'?" if near is not None else ""
        return f"{article(kind)} needs a type: {self._choices(kind)}{remedy}"

    def _unknown_type(self, kind: str, name: Any) -> str:
        if not isinstance(name, str):
            return f"the type of {article(kind)} should be a name, not {show(name)}"
        reason = self._registry.why_not(name, kind) or f"there is {self._choices(kind)}"
        return f"no {kind} named {show(name)}; {reason}"

    def _choices(self, kind: str) -> str:
        return ", ".join(self._registry.choices(kind)) or "none is registered"

    @staticmethod
    def _no_choice(expected: str, value: Any) -> str:
        choices = tuple(re.findall(r"'([^']*)'", expected))
        near = nearest(value, choices) if isinstance(value, str) else None
        remedy = f"; did you mean '{near}'?" if near is not None else ""
        return f"should be {' or '.join(choices) if choices else expected}, not {show(value)}{remedy}"


def _remedy(kind: str, value: Any) -> str:
    if kind == "bool_type" and isinstance(value, str) and value.lower() in _BOOLEANS:
        return f"; write {_BOOLEANS[value.lower()]}"
    if kind == "string_type" and isinstance(value, (int, float)):
        return "; put it in quotes"
    return ""


def _spec_in(annotation: Any) -> tuple[type[Spec] | None, bool]:
    """The spec in a field's annotation, and whether the field holds a dict of them."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return annotation, False
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        return _spec_in(arguments[1])[0], True
    found = (_spec_in(argument) for argument in arguments)
    return next((pair for pair in found if pair[0] is not None), (None, False))


def _spec_of(entry: Node | None, default: Any, base: type[Spec], registry: Registry) -> type[Spec] | None:
    if entry is not None and entry.value is None:
        return None
    if not issubclass(base, PartSpec):
        return base
    name = entry.fields.get(TYPE) if entry is not None else None
    if name is not None:
        return registry.get(name.value, base.kind) if isinstance(name.value, str) else None
    return type(default) if entry is None and isinstance(default, PartSpec) else None
