"""The JSON schema: it accepts what the loader accepts, and describes every field."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from strategies import flava_specs

from flava_parts.document import parse
from flava_parts.plugins import load_registry
from flava_parts.schema import json_schema
from flava_parts.spec import FlavaSpec, RunSpec
from flava_parts.writing import to_yaml

REGISTRY = load_registry(entry_points=False)
SCHEMA = json_schema(REGISTRY)
DEFS: dict[str, Any] = SCHEMA["$defs"]


def references(schema: Any) -> set[str]:
    """Every definition that a schema points to."""
    if isinstance(schema, dict):
        inner = set().union(*(references(value) for value in schema.values()), set())
        return inner | ({schema["$ref"].removeprefix("#/$defs/")} if "$ref" in schema else set())
    return set().union(*(references(item) for item in schema)) if isinstance(schema, list) and schema else set()


def test_every_reference_is_defined() -> None:
    """No pointer into nothing, no definition for nothing, no slot left."""
    assert references(SCHEMA) == set(DEFS)
    assert "$slot" not in str(SCHEMA)


def test_every_block_is_closed_and_may_inherit() -> None:
    """An editor marks unknown fields, offers `base`, and asks for nothing that a base may have said."""
    for name, definition in DEFS.items():
        assert definition["additionalProperties"] is False, name
        assert "string" == definition["properties"]["base"]["type"], name
        assert "required" not in definition, name


def test_every_field_is_described() -> None:
    """What a field means stands beside it."""
    missing = [
        f"{name}.{field}"
        for name, definition in DEFS.items()
        for field, schema in definition["properties"].items()
        if not schema.get("description")
    ]

    assert [] == missing


def test_every_part_has_its_const_type() -> None:
    """A part is chosen by the one value that its type can have."""
    assert {name: name for name in REGISTRY.entries} == {
        name: DEFS[name]["properties"]["type"]["const"] for name in REGISTRY.entries
    }


def test_slots_offer_every_part_of_their_kind() -> None:
    """And null, where a slot may be empty."""
    slot = FlavaSpec.__name__

    assert [{"$ref": "#/$defs/flava.vit"}] == DEFS[slot]["properties"]["image_encoder"]["anyOf"]
    assert [{"$ref": "#/$defs/flava.dvae"}, {"$ref": "#/$defs/flava.kmeans"}, {"type": "null"}] == DEFS[slot][
        "properties"
    ]["codebook"]["anyOf"]
    entries = DEFS[RunSpec.__name__]["properties"]["observers"]["patternProperties"]

    assert {"type": "null"} in next(iter(entries.values()))["anyOf"]


def accepts(value: Any) -> bool:
    """Whether the schema accepts a file's content."""
    jsonschema = pytest.importorskip("jsonschema")
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(value)


def test_it_is_a_schema() -> None:
    """By the rules of JSON schema itself."""
    jsonschema = pytest.importorskip("jsonschema")

    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_presets_are_accepted() -> None:
    """Every file that ships."""
    for file in (files("flava_parts") / "presets").iterdir():
        assert accepts(parse(file.read_bytes(), file.name).plain()), file.name


@given(flava_specs())
def test_models_are_accepted(spec: FlavaSpec) -> None:
    """Every model, written out."""
    assert accepts(parse(to_yaml(spec), "m.yaml").plain())


@pytest.mark.parametrize(
    "value",
    [
        {"image_encoder": {"widht": 3}},
        {"image_encoder": {"width": 0}},
        {"image_encoder": {"type": "flava.dvae"}},
        {"losses": {"My Loss": {"type": "flava.mim"}}},
        {"zebra": 1},
        {"base": 3},
        [],
    ],
)
def test_wrong_files_are_not_accepted(value: Any) -> None:
    """What the loader refuses for its form."""
    assert not accepts(value)
