"""Names of many files, written as one."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator

from ...errors import InputError
from .byte_file import is_remote, naming, store

MAX_FILES = 1_000_000
"""More files than this are a slip of the pen."""

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def files_of(pattern: str) -> list[str]:
    """The files that a pattern names: ``cc3m-{0000..0331}.tar``, ``{train,val}/*.tar``, ``s3://bucket/*.tar``.

    Braces are written out first, in their order; then ``*``, ``?``, ``[…]`` and ``**`` stand for what there is, in
    alphabetical order. Raises InputError if nothing matches, if it is more than a million, or for braces in braces.
    """
    if _BRACES.search(_BRACES.sub("", pattern)):
        raise InputError(f"{pattern}: has braces within braces; write them as one, such as {{a,b,c}}")
    found: list[str] = []
    for name in expanded(pattern):
        found += _matching(name) if glob.has_magic(name) else [name]
        if len(found) > MAX_FILES:
            raise InputError(f"{pattern}: names more than {MAX_FILES:,} files")
    if not found:
        raise InputError(f"{pattern}: matches no file; paths are relative to where the command runs")
    return found


def expanded(pattern: str) -> Iterator[str]:
    """A pattern with its braces written out: ``a{08..10}`` is a08, a09, a10; ``{x,y}`` is x, y."""
    found = _BRACES.search(pattern)
    if found is None:
        yield pattern
        return
    rests = list(expanded(pattern[found.end() :]))
    span = _RANGE.fullmatch(found[1])
    if span is not None:
        first, last = int(span[1]), int(span[2])
        if last - first >= MAX_FILES:
            raise InputError(f"{pattern}: names more than {MAX_FILES:,} files")
        choices = [f"{number:0{len(span[1])}}" for number in range(first, last + 1)]
    else:
        choices = found[1].split(",")
    for choice in choices:
        for rest in rests:
            yield pattern[: found.start()] + choice + rest


def _matching(pattern: str) -> list[str]:
    if is_remote(pattern):
        with naming(pattern):
            files = store(pattern)
            return sorted(files.unstrip_protocol(name) for name in files.glob(pattern))
    return sorted(glob.glob(pattern, recursive=True))
