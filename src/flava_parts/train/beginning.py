"""What a run begins with: optimiser, precision, averages, and parts that were trained before."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..heads.classification import FlavaForClassification
from ..heads.specs import EncoderSlot
from ..interop.pretrained import load_part
from ..model import FlavaForPreTraining
from .average import moving_average, skeleton
from .checkpoints.tensor_files import put_tensors
from .course import Course
from .distribution import local_device, spread
from .layer_decay import layer_factors, scale_rates
from .loop import State
from .precision import Precision, fastest
from .proposals import Weights
from .ranks import OneProcess, Ranks
from .specs import TrainSpec


def new_state(
    model: FlavaForPreTraining | FlavaForClassification,
    spec: TrainSpec,
    *,
    course: Course | None = None,
    ranks: Ranks | None = None,
    say: Callable[[str], None],
) -> State:
    """The state of a run before its first step, on this process's accelerator if it has one.

    ``course`` says which numbers of a pretrained model change. Several ``ranks`` share the model, as ``spec.parallel``
    says. Raises InputError if they cannot.
    """
    ranks = ranks or OneProcess()
    model.to(local_device())
    copy = shared = None
    if ranks.size > 1:
        copy = None if spec.ema is None else skeleton(model)
        shared = spread(model, spec.parallel, shard_ranks=spec.shard_ranks)
    device = next(model.parameters()).device
    optimizer = spec.optimizer.build(model=model)
    scale_rates(optimizer, model, layer_factors(model, spec.layer_decay, spec.rates))
    choice = fastest(device, ranks) if spec.precision == "auto" else spec.precision
    if spec.precision == "auto":
        say(f"products of matrices in {choice}, which is faster here")
    return State(
        model=model,
        optimizer=optimizer,
        average=None if spec.ema is None else moving_average(model, spec.ema, copy),
        weights=None if course is None else Weights(model, course),
        precision=Precision(choice, device, keep_casts=not spec.recompute),
        spread=shared,
    )


def initialize(model: FlavaForPreTraining, sources: Mapping[EncoderSlot, str]) -> None:
    """Give parts of a new model the weights that they have elsewhere, by slot.

    Raises InputError for a source that cannot be read, lacks the part, or has one of another shape.
    """
    for slot, source in sources.items():
        part = load_part(source, slot)
        put_tensors(part.state_dict(), getattr(model, slot), place=f"train.initialize.{slot}: {source}")
