"""The specs of training: optimisers, schedules, observers, and the run's own numbers."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ..fields import Named, Probability, Rate
from ..heads.specs import EncoderSlot
from ..part import PartSpec, Slot, Spec, fault

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


class MuonSpec(OptimizerSpec):
    """Muon (Jordan et al. 2024) for the hidden matrices of encoders and fusion, AdamW for everything else."""

    type: Literal["flava.muon"] = "flava.muon"
    learning_rate: PositiveFloat = 1e-3
    """The highest learning rate, of both: Muon's updates are scaled to the size of AdamW's (Liu et al. 2025)."""
    momentum: Rate = 0.95
    """Decay of Muon's average of gradients."""
    nesterov: bool = True
    """Whether Muon looks ahead along its average."""
    iterations: PositiveInt = 5
    """Newton-Schulz iterations that orthogonalise an update."""
    betas: Annotated[tuple[Rate, Rate], Field(strict=False)] = (0.9, 0.999)
    """AdamW's decay of the averages of gradients and of their squares."""
    eps: PositiveFloat = 1e-8
    """Added to AdamW's denominator."""
    weight_decay: NonNegativeFloat = 0.1
    """Decoupled decay of the weight matrices, Muon's and AdamW's."""

    def build(self, *, model: nn.Module) -> optim.Optimizer:
        from .optimizers import muon

        return muon(model=model, **self.arguments())


class ScheduleSpec(PartSpec):
    """A schedule: a step to the factor of the learning rate, or of another number that changes over a run."""

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


class WarmupLinearSpec(ScheduleSpec):
    """Linear warm-up, then a straight line down to `final` (as BERT and RoBERTa)."""

    type: Literal["flava.warmup_linear"] = "flava.warmup_linear"
    warmup: NonNegativeInt = 10000
    """Steps of the linear warm-up."""
    final: Probability = 0.0
    """The factor at the last step."""

    def build(self, *, steps: int) -> Schedule:
        from .schedules import WarmupLinear

        return WarmupLinear(steps=steps, **self.arguments())


class WSDSpec(ScheduleSpec):
    """Warm-up, stable, decay: linear warm-up, 1, and at the end down to `final` (Hägele et al. 2024)."""

    type: Literal["flava.wsd"] = "flava.wsd"
    warmup: NonNegativeInt = 2000
    """Steps of the linear warm-up."""
    decay: NonNegativeInt = 10000
    """Steps of the way down, the last of the run."""
    final: Probability = 0.0
    """The factor at the last step."""

    def build(self, *, steps: int) -> Schedule:
        from .schedules import WarmupStableDecay

        return WarmupStableDecay(steps=steps, **self.arguments())


class ConstantSpec(ScheduleSpec):
    """Always 1, after a linear warm-up if there is one."""

    type: Literal["flava.constant"] = "flava.constant"
    warmup: NonNegativeInt = 0
    """Steps of the linear warm-up."""

    def build(self, *, steps: int) -> Schedule:
        from .schedules import Constant

        return Constant(steps=steps, **self.arguments())


Point = Annotated[tuple[NonNegativeInt, NonNegativeFloat], Field(strict=False)]
"""A step, and a factor."""


class PiecewiseSpec(ScheduleSpec):
    """Factors at given steps; each holds until the next, or straight lines lead from one to the next."""

    type: Literal["flava.piecewise"] = "flava.piecewise"
    points: Annotated[tuple[Point, ...], Field(strict=False), MinLen(1)]
    """Pairs of a step, counted from 0, and the factor from there on, in order of the steps."""
    smooth: bool = False
    """Whether straight lines join the points."""

    @model_validator(mode="after")
    def _steps_rise(self) -> PiecewiseSpec:
        steps = [step for step, _ in self.points]
        if steps != sorted(set(steps)):
            raise fault("points", f"the steps should rise, and are {', '.join(map(str, steps))}")
        return self

    def build(self, *, steps: int) -> Schedule:
        from .schedules import Piecewise

        return Piecewise(steps=steps, **self.arguments())


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


class CsvSpec(ObserverSpec):
    """`metrics.csv` in the run's folder: a row for each number."""

    type: Literal["flava.csv"] = "flava.csv"

    def build(self, *, folder: Path) -> Observer:
        from .csv_lines import CsvLines

        return CsvLines(folder=folder, **self.arguments())


class TensorBoardSpec(ObserverSpec):
    """Curves for TensorBoard, in `tensorboard` in the run's folder."""

    type: Literal["flava.tensorboard"] = "flava.tensorboard"

    def build(self, *, folder: Path) -> Observer:
        from .tensorboard import TensorBoard

        return TensorBoard(folder=folder, **self.arguments())


class WandbSpec(ObserverSpec):
    """A run of Weights & Biases, called after the run's folder."""

    type: Literal["flava.wandb"] = "flava.wandb"
    project: str = "flava-parts"
    """The project that the run belongs to."""
    mode: Literal["offline", "online"] = "offline"
    """Whether numbers stay in the folder, to be sent by `wandb sync`, or are sent as they are made."""

    def build(self, *, folder: Path) -> Observer:
        from .wandb import WeightsAndBiases

        return WeightsAndBiases(folder=folder, **self.arguments())


class MLflowSpec(ObserverSpec):
    """A run of MLflow, called after the run's folder."""

    type: Literal["flava.mlflow"] = "flava.mlflow"
    experiment: str = "flava-parts"
    """The experiment that the run belongs to."""
    address: str | None = None
    """Where the tracking server is; a database in the run's folder, `mlflow.db`, if not given."""

    def build(self, *, folder: Path) -> Observer:
        from .mlflow import MLflow

        return MLflow(folder=folder, **self.arguments())


class TrackioSpec(ObserverSpec):
    """A run of Trackio, called after the run's folder; it stays on this machine."""

    type: Literal["flava.trackio"] = "flava.trackio"
    project: str = "flava-parts"
    """The project that the run belongs to."""

    def build(self, *, folder: Path) -> Observer:
        from .trackio import Trackio

        return Trackio(folder=folder, **self.arguments())


TrainedSlot = Literal["image_encoder", "text_encoder", "fusion", "losses", "head"]
"""A part of a model that is trained."""


class ChangeSpec(Spec):
    """One number of the model that changes over the run: a loss's weight, or a number of a masker."""

    number: str
    """Its path in `model`: `losses.itm.weight`, `text_masker.probability`, `image_masker.total`."""
    schedule: Slot[ScheduleSpec]
    """The factor that the model's own value is multiplied by, step by step."""


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
    layer_decay: Annotated[float, Gt(0), Le(1)] = 1.0
    """Factor of the learning rate from each layer to the one below it, counted from the head (BEiT)."""
    rates: dict[TrainedSlot, PositiveFloat] = {}
    """Factor of the learning rate of each part named here."""
    freeze_until: dict[EncoderSlot, PositiveInt] = {}
    """The parts that stay as they are until so many updates are made: no gradients, no dropout."""
    clip_norm: PositiveFloat | None = None
    """Gradients are scaled down to at most this norm; not at all if not given."""
    accumulate: PositiveInt = 1
    """Pieces that each batch is split into, computed one after the other; their losses are averaged."""
    precision: Literal["fp32", "bf16", "fp16", "auto"] = "fp32"
    """What matrices are multiplied in; auto times bf16 and fp32 and takes the faster."""
    recompute: bool = False
    """Whether each block's activations are computed again in the backward pass instead of kept."""
    compile: bool = False
    """Whether each block is compiled by torch."""
    ema: Rate | None = None
    """Decay of an exponential moving average of the weights, which is what is evaluated; none if not given."""
    non_finite: Literal["stop", "skip"] = "stop"
    """What to do about an update whose loss or gradient is not finite: end the run before it, or leave it out."""
    spike: Annotated[float, Gt(1)] | None = 3.0
    """A loss of so many times its running median is written down, with its samples; null looks for none."""
    evaluate_every: PositiveInt | None = None
    """Steps between two evaluations; one is made at the end in any case."""
    parallel: Literal["ddp", "fsdp", "hybrid"] = "ddp"
    """What each of several processes (torchrun) has: the model; a part of each parameter; groups have the model so."""
    shard_ranks: PositiveInt | None = None
    """Processes of such a group, of `hybrid`; those of one machine if not given."""
    checkpoint_every: PositiveInt | None = None
    """Steps between two checkpoints; one is written at the end in any case."""
    keep_last: PositiveInt | None = None
    """How many of the newest checkpoints are kept; all if not given."""
    keep_best: str | None = None
    """The measure whose best checkpoint is kept too, highest is best: `retrieval/image_to_text/top1`."""


class PretrainTrainSpec(TrainSpec):
    """The numbers of a pretraining, and what changes in its course."""

    loss_means: Literal["global", "local"] = "global"
    """Over the rows of what losses are means: of all processes, or, as in the references, of each process."""
    grad_cache: bool = False
    """Whether pieces of `accumulate` give the gradient of the whole batch, contrastive loss included (GradCache)."""
    initialize: dict[EncoderSlot, str] = {}
    """Where a part's first weights come from, a run's folder or anything else that `load_part` reads."""
    changes: Named[ChangeSpec] = {}
    """The numbers of the model that change, by a name for each change."""


class FinetuneTrainSpec(TrainSpec):
    """The numbers of a fine-tuning, and how far the pretrained parts follow.

    FLAVA's appendix has batches of 256, weight decay 0.01, 2,000 steps of warm-up, and rates of 1e-4 for VQAv2 (44,000
    updates) and 1e-5 for SNLI-VE and Hateful Memes (24,000).
    """

    freeze: Annotated[tuple[EncoderSlot, ...], Field(strict=False)] = ()
    """The parts that stay as they are: no gradients, no dropout."""
