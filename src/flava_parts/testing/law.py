"""A law that a part keeps, and what is said when it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class LawError(Exception):
    """A part breaks a law: why, and how to mend it where the law's own advice does not fit."""

    def __init__(self, why: str, mend: str = "") -> None:
        super().__init__(why)
        self.mend = mend


class ExemptError(Exception):
    """A law says nothing about a part: why."""


@dataclass(frozen=True, slots=True)
class Law:
    """What is called ``name``, ``says`` a sentence, and is tested on the bench of a part: `LawError` or `ExemptError`.

    ``mend`` is what to do about a part that breaks it.
    """

    name: str
    says: str
    mend: str
    test: Callable[[Any], None]


def law(mend: str) -> Callable[[Callable[[Any], None]], Law]:
    """Makes a law of a function: its name is the law's, the first line of its docstring what the law says."""

    def named(test: Callable[[Any], None]) -> Law:
        return Law(test.__name__, (test.__doc__ or "").strip().partition("\n")[0], mend, test)

    return named


def one_line(error: BaseException) -> str:
    """``TypeError: forward() got …``, in one line of reasonable length."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:400] if text else type(error).__name__
