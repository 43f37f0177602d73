"""Files that build on files: ``base:`` merging, ``--set``, and the types that a slot gives to blocks without one.

Two rules of merging: blocks merge by key and everything else replaces; and a block that changes its ``type`` replaces
the whole block that it inherits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from .document import MAX_BYTES, MAX_DEPTH, Node, node_of, parse
from .errors import Loc, Mark, Problem, SpecError
from .part import PartSpec, Spec
from .registry import Registry

BASE = "base"
TYPE = "type"
MAX_FILES = 100
"""How many files and presets one document may be merged from, each counted as often as it is named."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A file or preset that is being read: the name it is shown under, what it really is, what paths start from."""

    name: str
    identity: str
    folder: str | None = ""


class Reader:
    """Reads documents with everything that they inherit. ``default_types`` are the types of blocks that state none."""

    def __init__(self, registry: Registry, default_types: Mapping[Loc, str]) -> None:
        self._registry = registry
        self._default_types = default_types
        self._files = 0

    def read(self, source: str | os.PathLike[str] | Mapping[str, object], assignments: Sequence[str] = ()) -> Node:
        """The merged tree of a path, a preset, YAML text of several lines, or plain data; ``assignments`` come last.

        Raises SpecError.
        """
        if isinstance(source, Mapping):
            tree = self._resolved(node_of(source), (), (_Place("", ""),))
        elif isinstance(source, str) and "\n" in source:
            tree = self._resolved(parse(source, "<text>"), (), (_Place("<text>", "<text>"),))
        else:
            explicit = not isinstance(source, str)
            tree = self._file(os.fspath(source), Node(None), (), (), explicit=explicit)
        for number, assignment in enumerate(assignments, start=1):
            tree = self._merged(tree, self._assigned(assignment, Mark(f"--set #{number}")), (), in_place=True)
        return self._typed(tree, (), self._default_types)

    def _file(self, name: str, asked: Node, loc: Loc, chain: tuple[_Place, ...], *, explicit: bool = False) -> Node:
        """The resolved tree of the file or preset that ``asked`` names, written in the last of ``chain``."""
        if "\0" in name:
            raise self._wrong(loc, f"cannot read {name!r}: no file has such a name", asked)
        place = self._place(name, asked, loc, chain, explicit)
        names = [other.identity for other in chain]
        if place.identity in names:
            circle = " -> ".join(other.name for other in (*chain[names.index(place.identity) :], place))
            raise self._wrong(loc, f"this base leads back to itself: {circle}", asked)
        self._files += 1
        if self._files > MAX_FILES:
            raise self._wrong(loc, f"more than {MAX_FILES} files are merged here", asked)
        try:
            if place.identity in self._registry.presets:
                text = self._registry.presets[place.identity].file.read_bytes()
            else:
                with Path(place.identity).open("rb") as file:
                    text = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise self._wrong(loc, f"cannot read {place.name!r}: {error.strerror or error}", asked) from None
        tree = parse(text, place.name)
        if not tree.is_block:
            raise SpecError([Problem(loc, "a file should hold a block of fields", source=tree.mark)])
        return self._resolved(tree, loc, (*chain, place))

    def _place(self, name: str, asked: Node, loc: Loc, chain: tuple[_Place, ...], explicit: bool) -> _Place:
        looks_like_path = explicit or name.endswith((".yaml", ".yml")) or "/" in name or os.sep in name
        if not looks_like_path and name in self._registry.presets:
            return _Place(name, name, folder=None)
        if not looks_like_path and not (not chain and os.path.isfile(name)):
            reason = self._registry.why_no_preset(name)
            raise self._wrong(
                loc,
                f"there is no {'preset' if chain else 'file and no preset'} named '{name}'"
                + (f"; {reason}" if reason else ""),
                asked,
            )
        folder = chain[-1].folder if chain else ""
        if folder is None:
            raise self._wrong(loc, f"a preset can only be based on presets, not on the file {name!r}", asked)
        shown = os.path.normpath(os.path.join(folder, name)) if chain else name
        return _Place(shown, os.path.realpath(shown), os.path.dirname(shown))

    def _resolved(self, node: Node, loc: Loc, chain: tuple[_Place, ...]) -> Node:
        """The node with every ``base`` in it merged."""
        if not node.is_block:
            return node
        if len(loc) > MAX_DEPTH:
            raise self._wrong(loc[:3], f"is nested more than {MAX_DEPTH} levels deep", node)
        base = node.fields.get(BASE)
        if base is not None and base.is_block:
            base = None  # an entry of a dict of parts may be called base
        own = Node(
            {
                name: self._resolved(child, (*loc, name), chain)
                for name, child in node.fields.items()
                if base is None or name != BASE
            },
            node.mark,
            node.key,
        )
        if base is None:
            return own
        if not isinstance(base.value, str):
            raise self._wrong((*loc, BASE), "should be the name of a preset or the path of a file", base)
        return self._merged(self._file(base.value, base, loc, chain), own, loc)

    def _merged(self, old: Node, new: Node, loc: Loc, *, in_place: bool = False) -> Node:
        """``new`` over ``old``; ``in_place``, blocks of both stay where ``old`` has them."""
        if not (old.is_block and new.is_block) or self._changes_type(old, new, loc):
            return new
        merged = dict(old.fields)
        for name, child in new.fields.items():
            merged[name] = (
                self._merged(merged[name], child, (*loc, name), in_place=in_place) if name in merged else child
            )
        placed = old if in_place else new
        return Node(merged, placed.mark, placed.key)

    def _changes_type(self, old: Node, new: Node, loc: Loc) -> bool:
        if TYPE not in new.fields:
            return False
        inherited = old.fields[TYPE].value if TYPE in old.fields else self._default_types.get(loc)
        return inherited is not None and inherited != new.fields[TYPE].value

    def _assigned(self, assignment: str, mark: Mark) -> Node:
        path, equals, text = assignment.partition("=")
        names = path.strip().split(".")
        if not equals or not all(names):
            raise SpecError([Problem((), f"should be a.b=VALUE, not {assignment!r}", source=mark)])
        try:
            node = _moved(parse(text, mark.file), mark) if text.strip() else Node(None, mark, mark)
        except SpecError as error:
            raise SpecError(
                replace(problem, loc=(*names, *problem.loc), source=mark) for problem in error.problems
            ) from None
        for name in reversed(names):
            node = Node({name: node}, mark, mark)
        return self._resolved(node, (), (_Place(mark.file, mark.file),))

    def _typed(self, node: Node, loc: Loc, default_types: Mapping[Loc, str]) -> Node:
        """The node, each block without a type given its slot's default type."""
        if not node.is_block:
            return node
        block = dict(node.fields)
        if TYPE not in block and loc in default_types:
            block = {TYPE: Node(default_types[loc]), **block}
        name = block[TYPE].value if TYPE in block else None
        spec = self._registry.get(name) if isinstance(name, str) else None
        if spec is not None:
            default_types = {**default_types, **{(*loc, *inner): part for inner, part in default_types_of(spec)}}
        typed = {name: self._typed(child, (*loc, name), default_types) for name, child in block.items()}
        return Node(typed, node.mark, node.key)

    @staticmethod
    def _wrong(loc: Loc, message: str, node: Node) -> SpecError:
        return SpecError([Problem(loc, message, source=node.mark)])


def default_types_of(spec: type[Spec]) -> Iterator[tuple[Loc, str]]:
    """The types of the parts that fill a spec's slots by default, with the paths of the slots."""
    for name, field in spec.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        entries: dict[Loc, object] = {(name,): default}
        entries |= {(name, key): entry for key, entry in entries_of(default).items()}
        for loc, entry in entries.items():
            if isinstance(entry, PartSpec):
                yield loc, entry.type_name()
            elif isinstance(entry, Spec):
                yield from ((loc + inner, part) for inner, part in default_types_of(type(entry)))
        if field.is_required() and isinstance(field.annotation, type) and issubclass(field.annotation, Spec):
            yield from (((name, *inner), part) for inner, part in default_types_of(field.annotation))


def entries_of(default: object) -> dict[str, object]:
    """The entries of a field's default that is a dict; none of any other."""
    return cast(dict[str, object], default) if isinstance(default, dict) else {}


def _moved(node: Node, mark: Mark) -> Node:
    """The node with all its places at ``mark``."""
    value = node.value
    if isinstance(value, dict):
        value = {name: _moved(child, mark) for name, child in value.items()}
    elif isinstance(value, list):
        value = [_moved(child, mark) for child in value]
    return Node(value, mark, mark)
