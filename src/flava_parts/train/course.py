"""The course of a run: what those numbers of a model are at each step that its spec has change. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import ValidationError

from ..errors import Problem
from .schedules import Schedule

if TYPE_CHECKING:
    from ..part import PartSpec
    from ..spec import FlavaSpec
    from .specs import ChangeSpec

MASKERS = ("image_masker", "text_masker", "pair_masker")
LOOKED_AT = 1000
"""`course_problems` tries about so many steps of a run."""


class Course:
    """The parts of a model at each step: a number is what the spec says, times the factors of its schedules."""

    def __init__(self, model: FlavaSpec, changes: Mapping[str, ChangeSpec], *, steps: int) -> None:
        self.model = model
        self._schedules: dict[str, list[Schedule]] = {}
        for change in changes.values():
            self._schedules.setdefault(change.number, []).append(change.schedule.build(steps=steps))

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

    def value(self, number: str, step: int, *, times: float = 1.0) -> float:
        """A number at a step, once more multiplied by ``times``. Raises ValueError if its part cannot have it."""
        found = part_of(self.model, number)
        assert found is not None
        part, field = found
        return getattr(_with(part, field, self.factor(number, step) * times), field)

    def masker(self, slot: str, step: int) -> PartSpec | None:
        """The masker of a slot at a step, None if the slot is empty. Raises ValueError if a number leaves its range."""
        part: PartSpec | None = getattr(self.model, slot)
        for number in self._schedules:
            owner, _, field = number.partition(".")
            if part is not None and owner == slot:
                part = _with(part, field, self.factor(number, step))
        return part


def part_of(model: FlavaSpec, number: str) -> tuple[PartSpec, str] | None:
    """The part and the field that a path means, ``losses.itm.weight`` or ``text_masker.probability``.

    None if it leads to no loss's weight and no number of a masker.
    """
    *path, field = number.split(".")
    part = None
    if len(path) == 1 and path[0] in MASKERS:
        part = getattr(model, path[0])
    elif len(path) == 2 and path[0] == "losses" and field == "weight":
        part = model.losses.get(path[1])
    if part is None or field not in type(part).model_fields:
        return None
    value = getattr(part, field)
    return (part, field) if isinstance(value, int | float) and not isinstance(value, bool) else None


def course_problems(model: FlavaSpec, changes: Mapping[str, ChangeSpec], *, steps: int) -> Iterator[Problem]:
    """What is wrong with the changes of a run, each located below its name."""
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
        course = Course(model, {name: change}, steps=steps)
        for step in {*range(0, steps, max(1, steps // LOOKED_AT)), steps - 1}:
            try:
                course.value(change.number, step)
            except ValueError as error:
                yield Problem((name, "schedule"), f"at step {step}, {error}")
                break


def _with(part: PartSpec, field: str, factor: float) -> PartSpec:
    """The part with a number multiplied, a whole one rounded. Raises ValueError with the reason if it may not be so."""
    base = getattr(part, field)
    value = round(base * factor) if isinstance(base, int) else base * factor
    try:
        return type(part).model_validate({**dict(part), field: value})
    except ValidationError as error:
        raise ValueError(f"{field} would be {value:g}: {error.errors()[0]['msg'].lower()}") from None
