"""From a spec to the YAML that describes it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

from .document import scalar
from .errors import Loc
from .inheritance import TYPE
from .part import Spec

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_UNSAFE = re.compile(r"[^\x20-\x7e\xa1-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def to_yaml(spec: Spec, note: Callable[[Loc], str] | None = None) -> str:
    """A spec as YAML with every default written, each block's type first; loading it gives the same spec back.

    ``note`` says something about the value at a path, which is put behind it as a comment.
    """
    lines = list(_lines(spec.model_dump(mode="json"), ()))
    if note is None:
        return "".join(f"{text}\n" for text, _ in lines)
    notes = [note(loc) if loc is not None else "" for _, loc in lines]
    column = 2 + max((len(text) for (text, _), said in zip(lines, notes, strict=True) if said), default=0)
    return "".join(
        f"{f'{text:<{column}}# {said}' if said else text}\n" for (text, _), said in zip(lines, notes, strict=True)
    )


def _lines(block: dict[str, Any], loc: Loc) -> Iterator[tuple[str, Loc | None]]:
    indent = "  " * len(loc)
    for name in sorted(block, key=lambda name: name != TYPE):
        value = block[name]
        if isinstance(value, dict) and value:
            yield f"{indent}{_text(name)}:", None
            yield from _lines(cast(dict[str, Any], value), (*loc, name))
        else:
            yield f"{indent}{_text(name)}: {_flow(value)}", (*loc, name)


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        entries = cast(dict[str, Any], value).items()
        return "{" + ", ".join(f"{_text(name)}: {_flow(inner)}" for name, inner in entries) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, cast(list[Any], value))) + "]"
    if value is None or isinstance(value, (bool, int, float)):
        return json.dumps(value)
    return _text(str(value))


def _text(text: str) -> str:
    """A string as a scalar that reads as the same string: bare where that is safe."""
    if _PLAIN.fullmatch(text) and scalar(text) == text:
        return text
    return _UNSAFE.sub(_escaped, json.dumps(text, ensure_ascii=False))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
