"""YAML to plain data that remembers file, line and column of every key and value.

Stricter than YAML where YAML surprises: no tags, no duplicate or non-string keys, no merge key, one document, and
scalars by the core schema of YAML 1.2 (``1e-3`` is a number, ``no`` is a string, ``010`` is ten). The parser's events
are consumed one by one, so that depth is bounded while parsing and an alias is never expanded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import yaml
from yaml.reader import Reader

from .errors import Loc, Mark, Problem, SpecError

MAX_BYTES = 1_000_000
MAX_DEPTH = 64
MAX_ALIASED = 10_000
"""How many values the aliases of one document may stand for, each counted as often as it is used."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile(Reader.NON_PRINTABLE.pattern)
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}


Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Node:
    """A value with its place: a scalar, a list of nodes, or a block (a dict of nodes).

    ``mark`` is where the value begins, ``key`` where the key begins that leads to it; none for what no file holds.
    """

    value: Scalar | list[Node] | dict[str, Node]
    mark: Mark | None = None
    key: Mark | None = None

    @property
    def is_block(self) -> bool:
        """Whether this is a mapping."""
        return isinstance(self.value, dict)

    @property
    def fields(self) -> dict[str, Node]:
        """The nodes of a block by name; none of anything else."""
        return self.value if isinstance(self.value, dict) else {}

    def children(self) -> Iterator[tuple[str | int, Node]]:
        """Keys or positions, with their nodes."""
        if isinstance(self.value, dict):
            yield from self.value.items()
        elif isinstance(self.value, list):
            yield from enumerate(self.value)

    def plain(self) -> Any:
        """The value without its places."""
        if isinstance(self.value, dict):
            return {name: child.plain() for name, child in self.value.items()}
        return [child.plain() for child in self.value] if isinstance(self.value, list) else self.value

    def at(self, loc: Loc) -> Node | None:
        """The node at a path; none if nothing was written there."""
        node = self
        for step in loc:
            found = next((child for name, child in node.children() if name == step), None)
            if found is None:
                return None
            node = found
        return node


def parse(text: str | bytes, file: str) -> Node:
    """The value of one YAML document; ``file`` is the name that its places are given under.

    Raises SpecError, with every problem that was found up to the first that ends the reading.
    """
    if len(text) > MAX_BYTES:
        raise SpecError([Problem((), "is larger than 1 MB; no model or run is", source=Mark(file))])
    if isinstance(text, bytes):
        text = _decoded(text, file)
    unprintable = _UNPRINTABLE.search(text)
    if unprintable:
        message = f"has the control character U+{ord(unprintable.group()):04X}, which YAML does not allow"
        raise SpecError([Problem((), message, source=_mark_of(file, text[: unprintable.start()]))])
    return _Reading(text, file).document()


def node_of(value: Any, loc: Loc = ()) -> Node:
    """Plain data as a node without places. Raises SpecError for keys that are no strings, and for depth."""
    if len(loc) > MAX_DEPTH:
        raise SpecError([Problem(loc[:3], f"is nested more than {MAX_DEPTH} levels deep")])
    if isinstance(value, Mapping):
        block: dict[str, Node] = {}
        for name, child in cast(Mapping[object, object], value).items():
            if not isinstance(name, str):
                raise SpecError([Problem(loc, f"a key should be text, not {name!r}")])
            block[name] = node_of(child, (*loc, name))
        return Node(block)
    if isinstance(value, (list, tuple)):
        items = cast(Sequence[object], value)
        return Node([node_of(child, (*loc, position)) for position, child in enumerate(items)])
    return Node(cast(Scalar, value))  # whatever else Python has is for the spec to refuse


def scalar(text: str) -> Scalar:
    """What an unquoted scalar stands for by YAML 1.2's core schema. Raises OverflowError beyond 64 bits."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        digits = text.lstrip("+-").lower()
        base = {"0o": 8, "0x": 16}.get(digits[:2], 10)
        digits = (digits[2:] if base != 10 else digits).lstrip("0") or "0"
        number = int(digits, base) if len(digits) <= 22 else 2**64
        if number >= 2**63:
            raise OverflowError
        return -number if text[0] == "-" else number
    return float(text) if _FLOAT.fullmatch(text) else text


@dataclass(slots=True)
class _Frame:
    """What is known about a value that is being read: itself, and the size and height that it will have."""

    size: int = 1
    height: int = 1


class _Reading:
    """One pass over the events of a document."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.anchors: dict[str, tuple[Node, _Frame]] = {}
        self.aliased = 0
        self.events = self._events(text)

    def document(self) -> Node:
        event = next(self.events)
        if isinstance(event, yaml.StreamEndEvent):
            raise SpecError([Problem((), "is empty; it should be a block of fields", source=Mark(self.file))])
        node, _ = self._node(next(self.events), (), 1, None)
        next(self.events)  # the end of the document
        event = next(self.events)
        if isinstance(event, yaml.DocumentStartEvent):
            self._problem((), "a second document begins here; a file holds one", event)
        if self.problems:
            raise SpecError(self.problems)
        return node

    def _events(self, text: str) -> Iterator[Any]:
        try:
            for event in cast(Iterator[Any], yaml.parse(text, Loader=_LOADER)):  # pyright: ignore[reportUnknownMemberType]
                if not isinstance(event, yaml.StreamStartEvent):
                    yield event
        except yaml.MarkedYAMLError as error:
            parts = (error.context, error.problem)
            mark = error.problem_mark or error.context_mark
            source = Mark(self.file, mark.line + 1, mark.column + 1) if mark else Mark(self.file)
            self.problems.append(Problem((), "is not YAML: " + " ".join(filter(None, parts)), source=source))
            raise SpecError(self.problems) from None
        except yaml.YAMLError as error:
            raise SpecError(
                [Problem((), f"is not YAML: {' '.join(str(error).split())}", source=Mark(self.file))]
            ) from None

    def _node(self, event: Any, loc: Loc, depth: int, key: Mark | None) -> tuple[Node, _Frame]:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, loc, depth, key)
        if depth > MAX_DEPTH:
            self._end(loc[:3], f"is nested more than {MAX_DEPTH} levels deep", event)
        if event.tag is not None:
            self._problem(loc, f"the tag {event.tag} is not allowed; values are plain", event)
        frame = _Frame()
        mark = self._mark(event)
        if isinstance(event, yaml.ScalarEvent):
            node = Node(self._scalar(event, loc), mark, key)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Node(self._list(loc, depth, frame), mark, key)
        else:
            node = Node(self._block(loc, depth, frame), mark, key)
        if event.anchor is not None:
            self.anchors[event.anchor] = (node, frame)
        return node, frame

    def _alias(self, event: Any, loc: Loc, depth: int, key: Mark | None) -> tuple[Node, _Frame]:
        if event.anchor not in self.anchors:
            self._end(loc, f"the alias *{event.anchor} has no finished anchor before it", event)
        node, frame = self.anchors[event.anchor]
        self.aliased += frame.size
        if self.aliased > MAX_ALIASED:
            self._end(loc, f"aliases stand for more than {MAX_ALIASED:,} values", event)
        if depth + frame.height - 1 > MAX_DEPTH:
            self._end(loc[:3], f"is nested more than {MAX_DEPTH} levels deep", event)
        return Node(node.value, self._mark(event), key), frame

    def _list(self, loc: Loc, depth: int, frame: _Frame) -> list[Node]:
        items: list[Node] = []
        for event in self.events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._inner(frame, self._node(event, (*loc, len(items)), depth + 1, None)))
        return items

    def _block(self, loc: Loc, depth: int, frame: _Frame) -> dict[str, Node]:
        block: dict[str, Node] = {}
        for event in self.events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            name = self._key(event, loc, depth)
            mark = self._mark(event)
            inner = (*loc, name) if name is not None else loc
            child = self._inner(frame, self._node(next(self.events), inner, depth + 1, mark))
            if name is None:
                continue
            if name in block:
                self.problems.append(Problem(inner, "is given twice", inner, mark, block[name].key))
            else:
                block[name] = child
        return block

    def _inner(self, frame: _Frame, child: tuple[Node, _Frame]) -> Node:
        frame.size += child[1].size
        frame.height = max(frame.height, child[1].height + 1)
        return child[0]

    def _key(self, event: Any, loc: Loc, depth: int) -> str | None:
        plain = isinstance(event, yaml.ScalarEvent) and event.style in (None, "")
        if plain and event.value == "<<":
            self._problem(loc, "'<<' is not supported; inherit with base: <preset or path>", event)
            return None
        if isinstance(event, yaml.ScalarEvent) and event.tag is None and event.anchor is None:
            value = self._scalar(event, loc)
            if isinstance(value, str):
                return value
            self._problem(loc, f"a key should be text, not {event.value or 'null'}; quote it", event)
            return None
        self._problem(loc, "a key should be plain text", event)
        if not isinstance(event, yaml.AliasEvent):
            self._node(event, loc, depth + 1, None)
        return None

    def _scalar(self, event: Any, loc: Loc) -> Scalar:
        if event.style not in (None, ""):
            return event.value
        try:
            return scalar(event.value)
        except OverflowError:
            self._problem(loc, f"{event.value[:20]}… does not fit into 64 bits", event)
            return 0

    def _mark(self, event: Any) -> Mark:
        return Mark(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _problem(self, loc: Loc, message: str, event: Any) -> None:
        self.problems.append(Problem(loc, message, source=self._mark(event)))

    def _end(self, loc: Loc, message: str, event: Any) -> None:
        self._problem(loc, message, event)
        raise SpecError(self.problems)


def _decoded(text: bytes, file: str) -> str:
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = text[: error.start].decode("utf-8-sig", errors="replace")
        message = f"is not UTF-8: byte 0x{text[error.start]:02x} ({error.reason})"
        raise SpecError([Problem((), message, source=_mark_of(file, before))]) from None


def _mark_of(file: str, before: str) -> Mark:
    """The place that comes after the text ``before``."""
    return Mark(file, before.count("\n") + 1, len(before) - before.rfind("\n"))
