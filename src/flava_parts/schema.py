"""The JSON schema of files, over every registered part: for editors that check while one types."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from pydantic.errors import PydanticInvalidForJsonSchema

from .inheritance import BASE
from .part import Spec
from .registry import Registry
from .spec import FinetuneSpec, FlavaSpec, RunSpec

Schema = dict[str, Any]

_BASE: Schema = {
    "type": "string",
    "description": "A preset, or the path of a file from this one: merged below this block.",
}
_DROPPED = frozenset({"title", "required", "$slot", "$defs"})


def json_schema(registry: Registry) -> Schema:
    """What a file may say. Nothing is required, since a ``base`` may have said it; `load_any` checks the rest."""
    defs: Schema = {}
    for spec in (FlavaSpec, RunSpec, FinetuneSpec):
        defs |= _definitions(spec.__name__, spec, registry, inner="")
    for name, entry in registry.entries.items():
        defs |= _definitions(name, entry.spec, registry, inner=f"{name}:")
        own: Schema = defs[name]["properties"].get("type", {"const": name})
        defs[name]["properties"]["type"] = own | {"description": (entry.spec.__doc__ or name).strip().splitlines()[0]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A FLAVA model, or a run or fine-tuning of one",
        "anyOf": [{"$ref": f"#/$defs/{spec.__name__}"} for spec in (FlavaSpec, RunSpec, FinetuneSpec)],
        "$defs": defs,
    }


def _definitions(name: str, spec: type[Spec], registry: Registry, inner: str) -> Schema:
    """The definition of a spec and of those inside it, whose names begin with ``inner``."""
    schema: Schema = {"type": "object", "properties": {}}
    with suppress(PydanticInvalidForJsonSchema):  # a plugin's field that JSON cannot describe: its block is left open
        schema = spec.model_json_schema(ref_template=f"#/$defs/{inner}{{model}}")
    found: Schema = {name: _adapted(schema, registry)}
    for key, definition in schema.get("$defs", {}).items():
        found[f"{inner}{key}"] = _adapted(definition, registry)
    return found


def _adapted(schema: Schema, registry: Registry) -> Schema:
    """The schema with slots replaced by the parts that fill them, ``base`` allowed in blocks, and nothing required."""
    adapted: Schema = {key: value for key, value in schema.items() if key not in _DROPPED}
    if "$slot" in schema:
        adapted["anyOf"] = [{"$ref": f"#/$defs/{name}"} for name in registry.choices(schema["$slot"])]
        adapted.pop("default", None)
    elif "anyOf" in schema:
        choices = [_adapted(choice, registry) for choice in schema["anyOf"]]
        adapted["anyOf"] = [
            inner for choice in choices for inner in (choice["anyOf"] if [*choice] == ["anyOf"] else [choice])
        ]
    if "properties" in schema:
        fields = {name: _adapted(field, registry) for name, field in schema["properties"].items()}
        adapted["properties"] = {BASE: _BASE, **fields}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            adapted[key] = _adapted(schema[key], registry)
    if "patternProperties" in schema:  # an entry of a dict may be null: that removes an inherited one
        entries = {pattern: _adapted(entry, registry) for pattern, entry in schema["patternProperties"].items()}
        adapted["patternProperties"] = {pattern: _or_null(entry) for pattern, entry in entries.items()}
        adapted["additionalProperties"] = False
    return adapted


def _or_null(schema: Schema) -> Schema:
    choices = schema["anyOf"] if [*schema] == ["anyOf"] else [schema]
    return {"anyOf": [*choices, {"type": "null"}]}
