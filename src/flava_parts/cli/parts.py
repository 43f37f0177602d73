"""``flava-parts parts``: what can be named in a file."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .options import Json, Plugins, registry_with
from .tables import table

if TYPE_CHECKING:
    from ..registry import Entry, Registry


def parts(
    name: Annotated[str | None, typer.Argument(help="Describe this part.")] = None,
    kind: Annotated[str | None, typer.Option(help="List only parts of this kind.")] = None,
    plugins: Plugins = None,
    doctor: Annotated[
        bool, typer.Option("--doctor", help="Examine every installed plugin, each in a process of its own.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the registered parts and presets, and what could not be registered; or describe one part.

    With --doctor, say of every plugin whether it is well, and what to do if not; exits with 1 if one is not.
    """
    if doctor:
        from .doctor import examine

        findings = examine(plugins)
        print(json.dumps([asdict(each) for each in findings], indent=2) if as_json else "\n".join(map(str, findings)))
        raise typer.Exit(0 if all(each.well for each in findings) else 1)
    registry = registry_with(plugins)
    if name is not None:
        found = _described(registry, name)
        print(json.dumps(found, indent=2) if as_json else _description(found))
        return
    if kind is not None and kind not in registry.kinds:
        raise InputError(f"there is no kind '{kind}'; the kinds are {', '.join(registry.kinds)}")
    entries = [entry for each in registry.kinds if kind in (None, each) for entry in _of_kind(registry, each)]
    print(json.dumps(_list_as_json(registry, entries), indent=2) if as_json else _list(registry, entries))


def _of_kind(registry: Registry, kind: str) -> list[Entry]:
    return [registry.entries[name] for name in registry.choices(kind)]


def _list(registry: Registry, entries: list[Entry]) -> str:
    from ..registry import claims

    rows = [(entry.kind, entry.name, str(entry.origin), _first_line(entry)) for entry in entries]
    text = [table(("kind", "type", "from", "what it is"), rows), "", f"presets: {', '.join(registry.presets)}"]
    text += [f"contested: {name}: {claims(origins)}" for name, origins in registry.contested.items()]
    text += [f"broken: {broken}" for broken in registry.broken]
    text += [f"blocked: {origin}" for origin in registry.blocked]
    return "\n".join(text)


def _list_as_json(registry: Registry, entries: list[Entry]) -> dict[str, Any]:
    return {
        "parts": [
            {"kind": entry.kind, "type": entry.name, "from": str(entry.origin), "description": _first_line(entry)}
            for entry in entries
        ],
        "presets": list(registry.presets),
        "contested": {name: [str(origin) for origin in origins] for name, origins in registry.contested.items()},
        "broken": [str(broken) for broken in registry.broken],
        "blocked": [str(origin) for origin in registry.blocked],
    }


def _first_line(entry: Entry) -> str:
    return (entry.spec.__doc__ or "").strip().partition("\n")[0]


def _described(registry: Registry, name: str) -> dict[str, Any]:
    from ..registry import nearest
    from ..schema import json_schema

    entry = registry.entries.get(name)
    if entry is None:
        reason = registry.why_not(name, "") or ""
        near = nearest(name, tuple(registry.entries))
        hint = reason or (f"did you mean '{near}'?" if near else "")
        raise InputError(f"there is no part named '{name}'" + (f"; {hint}" if hint else ""))
    fields: dict[str, Any] = json_schema(registry)["$defs"][name]["properties"]
    return {
        "type": name,
        "kind": entry.kind,
        "from": str(entry.origin),
        "defined": registry.find(name),
        "description": (entry.spec.__doc__ or "").strip(),
        "fields": {
            field: {
                "type": _type_of(schema),
                "default": "(required)" if entry.spec.model_fields[field].is_required() else schema.get("default"),
                "description": schema.get("description", ""),
            }
            for field, schema in fields.items()
            if field in entry.spec.model_fields and field != "type"
        },
    }


def _description(found: dict[str, Any]) -> str:
    from ..messages import show

    head = f"{found['type']}: {found['kind']}, from {found['from']}\n{found['defined']}\n\n{found['description']}\n"
    rows = [
        (
            name,
            field["type"],
            field["default"] if field["default"] == "(required)" else show(field["default"]),
            field["description"],
        )
        for name, field in found["fields"].items()
    ]
    return head + ("\n" + table(("field", "type", "default", "description"), rows) if rows else "\nIt has no fields.")


def _type_of(schema: dict[str, Any]) -> str:
    """A field's type and range in a few characters."""
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type_of(choice) for choice in schema["anyOf"]))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema or "const" in schema:
        return " | ".join(map(str, schema.get("enum", [schema.get("const")])))
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        inner = schema.get("prefixItems") or [schema.get("items", {})]
        return f"[{', '.join(map(_type_of, inner))}]"
    words = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    return " ".join([kind, *(f"{sign} {schema[key]:g}" for key, sign in words.items() if key in schema)])
