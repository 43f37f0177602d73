"""What can be wrong with an input, and where: problems, and the exceptions that carry them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Loc = tuple[str | int, ...]
"""The path of a value inside a document: ``("losses", "itm", "weight")``."""


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in a file: the file's name as the user gave it, line and column counted from 1."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where (``loc`` in the document, ``source`` in the file), what, and what to try.

    ``see`` names a second place that the message is about; ``see_source`` is where that place was written.
    """

    loc: Loc
    message: str
    see: Loc | None = None
    source: Mark | None = None
    see_source: Mark | None = None
    level: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        path = dotted(self.loc)
        head = ": ".join(part for part in (str(self.source) if self.source else "", path) if part)
        text = f"{head}: {self.message}" if head else self.message
        if self.see is not None:
            place = f"{self.see_source} " if self.see_source else ""
            text += f" (see {place}{dotted(self.see)})"
        return text


def dotted(loc: Loc) -> str:
    """``("losses", "itm")`` as ``losses.itm``."""
    return ".".join(str(part) for part in loc)


class FlavaPartsError(Exception):
    """The base of every error that this package raises on purpose; the command line turns it into one message."""

    exit_code = 1


class SpecError(FlavaPartsError):
    """A spec, or the file it was written in, is wrong. ``problems`` holds all that was found, not just the first."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[SpecError], tuple[tuple[Problem, ...]]]:
        return (type(self), (self.problems,))


class InputError(FlavaPartsError):
    """Something else that the user gave is wrong (a picture, a weight file, an argument): what, and what to try."""

    exit_code = 2


class PluginError(FlavaPartsError):
    """A plugin broke the rules of registration. The registry remembers it; nobody else's parts are affected."""
