"""The laws of evaluations."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import torch

from ..compose import compose
from ..inputs.processor import Processor
from ..loading import load_run
from ..plugins import load_registry
from ..spec import RunSpec
from .bench import Bench
from .law import LawError, law

_SMALL = ("model.image_encoder.depth=1", "model.text_encoder.depth=1")


class EvaluationBench(Bench):
    """An evaluation of the emoji model, one block deep, that has learnt nothing."""

    kind = "evaluation"

    @cached_property
    def run(self) -> RunSpec:
        """The shipped run."""
        return load_run("flava.emoji", registry=load_registry(entry_points=False), set=_SMALL)

    @cached_property
    def composed(self) -> Any:
        """The model, as it starts."""
        torch.manual_seed(0)
        return compose(self.run.model, vocab=self.run.data.tokenizer.vocab())

    @cached_property
    def processor(self) -> Processor:
        """The model's."""
        return Processor.of(self.run.model, self.run.data)

    def measured(self, part: Any) -> dict[str, float]:
        """The numbers."""
        return dict(part(self.composed, self.processor).record)


@law("measure in evaluation mode under torch.inference_mode, put the model back, and draw no random numbers")
def measures(bench: EvaluationBench) -> None:
    """It gives named finite numbers, the same each time, and leaves the model and torch's generator as they were."""
    model = bench.composed.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    first = bench.measured(bench.part)
    if not first or not all(math.isfinite(value) for value in first.values()):
        raise LawError(f"the record is {first}")
    if not torch.equal(state, torch.get_rng_state()):
        raise LawError("it draws from torch's global generator")
    if not model.training or any(not torch.equal(before[name], value) for name, value in model.state_dict().items()):
        raise LawError("the model is another, or in another mode, afterwards")
    if first != (second := bench.measured(bench.part)):
        raise LawError(f"it measures {first}, and then {second}")


EvaluationBench.laws = (measures,)
