"""The course of a run: what those numbers of a model are at each step that its spec has change. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import ValidationError

from ..errors import Loc, Problem
from .schedules import Schedule

if TYPE_CHECKING:
    from ..part import PartSpec
    from ..spec import FlavaSpec
    from ..wiring import Wiring
    from .specs import ChangeSpec

MASKERS = ("image_masker", "text_masker", "pair_masker")
LOOKED_AT = 1_000_000
"""`course_problems` tries every step of a run of so many, and of a longer one about so many, evenly."""


class Course:
    """The parts of a model at each step: a number is what the spec says, times the factors of its schedules."""

    def __init__(self, model: FlavaSpec, changes: Mapping[str, ChangeSpec], *, steps: int) -> None:
        self.model = model
        self._schedules: dict[str, list[Schedule]] = {}
        for change in changes.values():
            self._schedules.setdefault(change.number, []).append(change.schedule.build(steps=steps))
        self._numbers: dict[str, dict[str, str]] = {}
        for number in self._schedules:
            owner, _, field = number.rpartition(".")
            self._numbers.setdefault(owner, {})[field] = number

    @property
    def numbers(self) -> tuple[str, ...]:
        """The paths of what changes, ``losses.itm.weight``."""
        return tuple(self._schedules)

    def factor(self, number: str, step: int) -> float:
        """What a number is multiplied by at a step, counted from 0; 1 if it does not change."""
        factor = 1.0
        for schedule in self._schedules.get(number, ()):
            factor *= schedule(step)
        return factor

    def factors(self, owner: str, step: int) -> dict[str, float]:
        """What the numbers of a part that change are multiplied by at a step, by field."""
        return {field: self.factor(number, step) for field, number in self._numbers.get(owner, {}).items()}

    def value(self, number: str, step: int, *, times: float = 1.0) -> float:
        """A number at a step, once more multiplied by ``times``. Raises ValueError if its part cannot have it."""
        owner, _, field = number.rpartition(".")
        factors = self.factors(owner, step)
        return getattr(self.part(owner, {**factors, field: factors.get(field, 1.0) * times}), field)

    def part(self, owner: str, factors: Mapping[str, float]) -> PartSpec:
        """A part, ``losses.itm`` or ``text_masker``, with numbers multiplied. Raises ValueError if it may not be so."""
        part = _part_at(self.model, owner)
        assert part is not None
        return _with(part, factors) if factors else part

    def masker(self, slot: str, step: int) -> PartSpec | None:
        """The masker of a slot at a step, None if the slot is empty. Raises ValueError if its numbers cannot be so."""
        return None if getattr(self.model, slot) is None else self.part(slot, self.factors(slot, step))


def part_of(model: FlavaSpec, number: str) -> tuple[PartSpec, str] | None:
    """The part and the field that a path means, ``losses.itm.weight`` or ``text_masker.probability``.

    None if it leads to no loss's weight and no number of a masker.
    """
    owner, _, field = number.rpartition(".")
    part = _part_at(model, owner)
    if part is None or field not in type(part).model_fields or (owner not in MASKERS and field != "weight"):
        return None
    value = getattr(part, field)
    return (part, field) if isinstance(value, int | float) and not isinstance(value, bool) else None


def course_problems(
    model: FlavaSpec, changes: Mapping[str, ChangeSpec], *, steps: int, wiring: Wiring
) -> Iterator[Problem]:
    """What is wrong with the changes of a run, each located below its name; ``see`` is a place in the run."""
    by_owner: dict[str, dict[str, ChangeSpec]] = {}
    for name, change in changes.items():
        found = part_of(model, change.number)
        if found is None:
            yield Problem(
                (name, "number"),
                f"{change.number!r} is no number of the model that can change; those are losses.NAME.weight of "
                f"{', '.join(model.losses)}, and the numbers of {', '.join(MASKERS)}",
            )
            continue
        if not getattr(*found):
            yield Problem((name, "number"), f"{change.number} is 0 in the model, and stays so whatever the factor")
        by_owner.setdefault(change.number.rpartition(".")[0], {})[name] = change
    for owner, together in by_owner.items():
        yield from _part_problems(model, owner, together, steps=steps, wiring=wiring)


def _part_problems(
    model: FlavaSpec, owner: str, changes: Mapping[str, ChangeSpec], *, steps: int, wiring: Wiring
) -> Iterator[Problem]:
    """The first step at which a part cannot be what all of its changes make of it."""
    course = Course(model, changes, steps=steps)
    seen: set[tuple[float, ...]] = set()
    for step in (*range(0, steps - 1, max(1, steps // LOOKED_AT)), steps - 1):
        factors = course.factors(owner, step)
        if tuple(factors.values()) in seen:
            continue
        seen.add(tuple(factors.values()))
        if message := _fault(course, owner, factors, wiring):
            name, see = _to_blame(model, owner, changes, step, steps=steps, wiring=wiring)
            yield Problem((name, "schedule"), f"at step {step}, {message}", see=see)
            return


def _to_blame(
    model: FlavaSpec, owner: str, changes: Mapping[str, ChangeSpec], step: int, *, steps: int, wiring: Wiring
) -> tuple[str, Loc | None]:
    """The change that, added to those before it, is too much at a step; and one before it of the same number."""
    added: dict[str, ChangeSpec] = {}
    see: Loc | None = None
    for name, change in changes.items():
        of_same = [before for before, other in added.items() if other.number == change.number]
        added[name] = change
        see = ("train", "changes", of_same[0], "schedule") if of_same else None
        course = Course(model, added, steps=steps)
        if _fault(course, owner, course.factors(owner, step), wiring):
            return name, see
    raise AssertionError("all of the changes together are too much")


def _fault(course: Course, owner: str, factors: Mapping[str, float], wiring: Wiring) -> str | None:
    """Why a part cannot have its numbers multiplied so; None if it can."""
    try:
        part = course.part(owner, factors)
    except ValueError as error:
        return str(error)
    return next((problem.message for problem in part.problems(wiring) if problem.level == "error"), None)


def _part_at(model: FlavaSpec, owner: str) -> PartSpec | None:
    """The masker or the loss that a path means, None if it means neither, or the slot is empty."""
    if owner in MASKERS:
        return getattr(model, owner)
    first, _, name = owner.partition(".")
    return model.losses.get(name) if first == "losses" else None


def _with(part: PartSpec, factors: Mapping[str, float]) -> PartSpec:
    """The part with numbers multiplied, whole ones rounded. Raises ValueError with the reason if it may not be so."""
    values: dict[str, float] = {}
    for field, factor in factors.items():
        base = getattr(part, field)
        values[field] = round(base * factor) if isinstance(base, int) else base * factor
    try:
        return type(part).model_validate({**dict(part), **values})
    except ValidationError as error:
        reason = error.errors()[0]
        at_fault = [field for field in values if field in reason["loc"]] or list(values)
        would = ", ".join(f"{field} would be {values[field]:g}" for field in at_fault)
        raise ValueError(f"{would}: {reason['msg'].lower()}") from None
