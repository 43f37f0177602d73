"""The specs of training: optimisers, schedules, observers, and the run's own numbers."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ..fields import Probability, Rate
from ..heads.specs import EncoderSlot
from ..part import PartSpec, Slot, Spec

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn, optim

    from .observers import Observer
    from .schedules import Schedule


class OptimizerSpec(PartSpec):
    """An optimiser of a model's trainable parameters."""

    kind: ClassVar[str] = "optimizer"
    learning_rate: PositiveFloat

    @abstractmethod
    def build(self, *, model: nn.Module) -> optim.Optimizer:
        """The optimiser, over the parameters that ask for gradients."""


class AdamWSpec(OptimizerSpec):
    """AdamW (Loshchilov and Hutter 2019); norms, biases, embeddings and lone tokens are not decayed."""

    type: Literal["flava.adamw"] = "flava.adamw"
    learning_rate: PositiveFloat = 1e-3
    """The highest learning rate, after warm-up."""
    betas: Annotated[tuple[Rate, Rate], Field(strict=False)] = (0.9, 0.999)
    """Decay of the averages of gradients and of their squares."""
    eps: PositiveFloat = 1e-8
    """Added to the denominator."""
    weight_decay: NonNegativeFloat = 0.1
    """Decoupled decay of the weight matrices."""

    def build(self, *, model: nn.Module) -> optim.Optimizer:
        from .optimizers import adamw

        return adamw(model=model, **self.arguments())


class ScheduleSpec(PartSpec):
    """A schedule: a step to the factor of the learning rate."""

    kind: ClassVar[str] = "schedule"

    @abstractmethod
    def build(self, *, steps: int) -> Schedule:
        """The schedule of a run of so many steps."""


class WarmupCosineSpec(ScheduleSpec):
    """Linear warm-up, then half a cosine down to `final` (FLAVA section 4)."""

    type: Literal["flava.warmup_cosine"] = "flava.warmup_cosine"
    warmup: NonNegativeInt = 10000
    """Steps of the linear warm-up."""
    final: Probability = 0.0
    """The factor at the last step."""

    def build(self, *, steps: int) -> Schedule:
        from .schedules import WarmupCosine

        return WarmupCosine(steps=steps, **self.arguments())


class ObserverSpec(PartSpec):
    """An observer: sees every step and evaluation of a run, changes nothing."""

    kind: ClassVar[str] = "observer"

    @abstractmethod
    def build(self, *, folder: Path) -> Observer:
        """The observer of the run in this folder."""


class ConsoleSpec(ObserverSpec):
    """A progress bar on a terminal, plain lines elsewhere."""

    type: Literal["flava.console"] = "flava.console"
    every: PositiveInt = 20
    """Steps between two plain lines."""

    def build(self, *, folder: Path) -> Observer:
        from .console import Console

        return Console(folder=folder, **self.arguments())


class JsonLinesSpec(ObserverSpec):
    """`metrics.jsonl` in the run's folder: one flat object a line."""

    type: Literal["flava.jsonl"] = "flava.jsonl"

    def build(self, *, folder: Path) -> Observer:
        from .json_lines import JsonLines

        return JsonLines(folder=folder, **self.arguments())


class TrainSpec(Spec):
    """The numbers of a run (FLAVA table A.1 has batches of 8192 and about 214,000 updates)."""

    steps: PositiveInt
    """Updates in all."""
    batch_size: PositiveInt = 256
    """Samples of one batch, where a stream does not say otherwise."""
    seed: Annotated[int, Ge(0), Lt(2**63)] = 0
    """Fixes weights, order, augmentation and masks."""
    optimizer: Slot[OptimizerSpec] = AdamWSpec()
    """How weights follow gradients."""
    schedule: Slot[ScheduleSpec] = WarmupCosineSpec()
    """How the learning rate changes."""
    clip_norm: PositiveFloat | None = None
    """Gradients are scaled down to at most this norm; not at all if not given."""
    checkpoint_every: PositiveInt | None = None
    """Steps between two checkpoints; one is written at the end in any case."""
    keep_last: PositiveInt | None = None
    """How many of the newest checkpoints are kept; all if not given."""
    keep_best: str | None = None
    """The measure whose best checkpoint is kept too, highest is best: `retrieval/image_to_text/top1`."""


class FinetuneTrainSpec(TrainSpec):
    """The numbers of a fine-tuning, and how far the pretrained parts follow.

    FLAVA's appendix has batches of 256, weight decay 0.01, 2,000 steps of warm-up, and rates of 1e-4 for VQAv2 (44,000
    updates) and 1e-5 for SNLI-VE and Hateful Memes (24,000).
    """

    freeze: Annotated[tuple[EncoderSlot, ...], Field(strict=False)] = ()
    """The parts that stay as they are: no gradients, no dropout."""
    layer_decay: Annotated[float, Gt(0), Le(1)] = 1.0
    """Factor of the learning rate from each layer to the one below it, counted from the head (BEiT)."""
