"""Does a part keep its kind's contract? One call, and a report of every law."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch

from ..errors import InputError
from ..part import PartSpec
from ..spec import FlavaSpec
from .bench import EVERY_PART, Bench, builds
from .codebooks import CodebookBench
from .encoders import ImageEncoderBench, TextEncoderBench
from .evaluations import EvaluationBench
from .fusions import FusionBench
from .heads import HeadBench
from .inputs import SourceBench, TokenizerBench
from .law import ExemptError, Law, LawError, one_line
from .losses import LossBench
from .maskers import ImageMaskerBench, PairMaskerBench, TextMaskerBench
from .report import Check, Report
from .training import ObserverBench, OptimizerBench, ScheduleBench

BENCHES: dict[str, type[Bench]] = {
    bench.kind: bench
    for bench in (
        ImageEncoderBench,
        TextEncoderBench,
        FusionBench,
        CodebookBench,
        ImageMaskerBench,
        TextMaskerBench,
        PairMaskerBench,
        LossBench,
        HeadBench,
        TokenizerBench,
        SourceBench,
        OptimizerBench,
        ScheduleBench,
        ObserverBench,
        EvaluationBench,
    )
}
"""The bench of each kind."""


def laws_of(kind: str) -> tuple[Law, ...]:
    """The laws of a kind, in the order in which they are tested. Raises InputError for a kind that there is not."""
    if kind not in BENCHES:
        raise InputError(f"there is no kind '{kind}'; the kinds are {', '.join(BENCHES)}")
    return (*EVERY_PART, *BENCHES[kind].laws)


def check_part(
    spec: PartSpec,
    *,
    only: Collection[str] | None = None,
    constructor: Callable[..., Any] | None = None,
    model: FlavaSpec | None = None,
) -> Report:
    """Test every law of a part's kind, each by itself, and say which it breaks, why, and how to mend it.

    ``spec`` should be small: its part is built and run a few times. ``only`` are the names of laws to test, all if not
    given. ``constructor`` takes the spec's fields as keywords where the built object's own class does not, as a
    function around a library does. ``model`` is the model around the part, a small FLAVA if not given: a loss that
    reads streams of its own needs one that provides them.

    torch's random state is left as it was. Raises InputError for a law that the kind does not have.
    """
    laws = laws_of(spec.kind)
    if unknown := set(only or ()) - {law.name for law in laws}:
        known = ", ".join(law.name for law in laws)
        raise InputError(f"there is no law '{', '.join(sorted(unknown))}' of {spec.kind}; there are {known}")
    checks: list[Check] = []
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        bench = BENCHES[spec.kind](spec, constructor=constructor, model=model)
        for law in laws:
            if only is not None and law.name not in only:
                continue
            if any(check.name == builds.name and check.outcome == "failed" for check in checks):
                checks.append(Check(law.name, "not applicable", law.says, "it cannot be built"))
            else:
                checks.append(_tested(law, bench))
    return Report(spec.type_name(), spec.kind, tuple(checks))


def _tested(law: Law, bench: Bench) -> Check:
    try:
        law.test(bench)
    except ExemptError as reason:
        return Check(law.name, "not applicable", law.says, str(reason))
    except LawError as fault:
        return Check(law.name, "failed", law.says, str(fault), fault.mend or law.mend)
    except Exception as error:  # whatever a part raises is what is wrong with it
        return Check(law.name, "failed", law.says, f"raises {one_line(error)}", law.mend)
    return Check(law.name, "passed", law.says)
