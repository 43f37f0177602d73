"""The field types that several specs share: each carries its range, and its JSON schema, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar, cast

from annotated_types import Ge, Le, Lt
from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from .facts import Size


def _size(value: Any) -> Any:
    is_pair = isinstance(value, (list, tuple))
    sides = cast(Sequence[object], value) if is_pair else (value, value)
    if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
        raise PydanticCustomError("size", "should be a positive whole number of pixels, or [height, width]")
    return tuple(sides) if is_pair else value


Pixels = Annotated[
    Size,
    BeforeValidator(_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "exclusiveMinimum": 0},
                {"type": "array", "items": {"type": "integer", "exclusiveMinimum": 0}, "minItems": 2, "maxItems": 2},
            ]
        }
    ),
]
"""A side in pixels, or [height, width]."""

Probability = Annotated[float, Ge(0), Le(1)]
Rate = Annotated[float, Ge(0), Lt(1)]
"""A share that must leave something: a dropout rate."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""The name of an entry: part of state-dict keys, log keys and YAML paths."""


def _without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: entry for name, entry in cast(dict[object, object], value).items() if entry is not None}


_T = TypeVar("_T")
Named = Annotated[dict[Name, _T], BeforeValidator(_without_nulls)]
"""Entries by name; ``losses: {itm: null}`` removes one that is inherited."""

Activation = Literal["gelu", "relu", "selu", "gelu_new"]

__all__ = [
    "Activation",
    "Field",
    "Name",
    "Named",
    "NonNegativeFloat",
    "Pixels",
    "PositiveFloat",
    "PositiveInt",
    "Probability",
    "Rate",
]
