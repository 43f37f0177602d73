"""What a conformance check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["passed", "failed", "not applicable"]


@dataclass(frozen=True, slots=True)
class Check:
    """One law, applied to one part: what came of it, why, and how to mend it."""

    name: str
    outcome: Outcome
    says: str
    why: str = ""
    mend: str = ""

    def __str__(self) -> str:
        text = f"{self.outcome:14}  {self.name}"
        if self.outcome == "passed":
            return f"{text}: {self.says}"
        return f"{text}: {self.why}" + (f"\n{'':16}mend it: {self.mend}" if self.mend else "")


@dataclass(frozen=True, slots=True)
class Report:
    """Every law of a part's kind, in the order in which they were tested."""

    part: str
    kind: str
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """The laws that the part breaks."""
        return tuple(check for check in self.checks if check.outcome == "failed")

    @property
    def ok(self) -> bool:
        """Whether the part breaks none."""
        return not self.failed

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "part": self.part,
            "kind": self.kind,
            "ok": self.ok,
            "checks": [
                {"name": check.name, "outcome": check.outcome, "says": check.says, "why": check.why, "mend": check.mend}
                for check in self.checks
            ],
        }

    def __str__(self) -> str:
        count = {outcome: sum(check.outcome == outcome for check in self.checks) for outcome in ("passed", "failed")}
        head = f"{self.part}, {self.kind.replace('_', ' ')}: {count['passed']} passed, {count['failed']} failed"
        return "\n".join([head, *(f"  {line}" for check in self.checks for line in str(check).splitlines())])
