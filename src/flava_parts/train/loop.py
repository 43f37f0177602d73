"""The training loop: batch, losses, update; in plain sight. Pretraining and fine-tuning share it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from ..data.keyed import keyed_generator
from ..data.loader import Batch
from ..model import FlavaForPreTraining
from .accumulation import Piece, Totals, pieces
from .average import AVERAGE, average_tensors
from .blocks import compile_blocks, forget, freeze, leave_frozen, recompute
from .checkpoints.loading import Checkpoint
from .checkpoints.saving import Checkpoints
from .checkpoints.tensor_files import check_fit
from .distribution import Spread, gradient_norm
from .divergence import DivergedError, Divergence
from .grad_cache import cached_gradients
from .interruption import Interrupted, Interruption
from .layer_decay import FACTOR
from .observers import Observer
from .optimizer_state import empty_tensors, optimizer_scalars, optimizer_state, optimizer_tensors, put_scalars
from .precision import Precision, keep_exact
from .proposals import Proposer, Weights
from .ranks import FirstFailedError
from .specs import PretrainTrainSpec, TrainSpec
from .throughput import Throughput

if TYPE_CHECKING:
    from .checkpoints.parts import TensorGroup


@dataclass
class State:
    """What changes during a run, all that a resumed run needs: order, masks and dropout follow from seed and step."""

    model: nn.Module
    """Gives an output with `loss` and `losses` for the tensors of a batch."""
    optimizer: Optimizer
    step: int = 0
    """Updates made so far."""
    average: AveragedModel | None = None
    """The moving average of the model's weights, if there is one."""
    weights: Weights | None = None
    """The weights of the losses, if they can change."""
    precision: Precision = field(default_factory=Precision)
    """How matrices are multiplied, and the scale of the losses."""
    spread: Spread | None = None
    """How several processes share the model, if they do."""

    @property
    def forward(self) -> nn.Module:
        """What to call on a batch: the model, or what stands for it where several processes share it."""
        return self.model if self.spread is None else self.spread.forward

    def apart(self, *, last: bool) -> AbstractContextManager[Any]:
        """The context of a piece's forward and backward pass: gradients are sent with those of the last."""
        return nullcontext() if last or self.spread is None else self.spread.unsent()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All tensors by group and name, as a checkpoint keeps them: of several processes, which all have to call it,
        each has its parts of them."""
        own = self._own()
        return own if self.spread is None else self.spread.kept(own)

    def _own(self) -> dict[str, dict[str, Tensor]]:
        """All tensors of this process by group and name."""
        groups = {"model": self.model.state_dict(), "optimizer": optimizer_tensors(self.model, self.optimizer)}
        return groups if self.average is None else {**groups, AVERAGE: average_tensors(self.average)}

    def facts(self) -> dict[str, Any]:
        """All else, as JSON has it; goes into a checkpoint's `state.json`."""
        return {
            "step": self.step,
            "param_groups": optimizer_scalars(self.optimizer),
            "precision": self.precision.facts(),
            "proposed": {} if self.weights is None else dict(self.weights.proposed),
        }

    def restore(self, checkpoint: Checkpoint, *, optimizer: bool = True) -> None:
        """Become what `tensors` and `facts` told when the checkpoint was written; the optimiser only if asked.

        Everything is compared before anything is changed. Raises InputError, which names the file, for what is missing,
        unexpected, or of another shape or type.
        """
        own = self._own()
        kept = own if self.spread is None else self.spread.kept(own)
        held = {group: checkpoint.group(group) for group in own}
        averages = held.pop("optimizer")
        for group, found in held.items():
            check_fit(found.outline, kept[group], place=str(found.place), exactly=True)
        fields = self._averages(averages) if optimizer else None
        for group, found in held.items():
            found.read(kept[group])  # right into the model, for which there may be no room twice
            if self.spread is not None:
                self.spread.put(kept[group], own[group])
        self.model.load_state_dict(own["model"])  # a codebook then knows that it is fitted
        if fields is not None:
            self.optimizer.load_state_dict(fields)
            put_scalars(checkpoint.facts.get("param_groups", ()), self.optimizer)
        self.precision.restore(checkpoint.facts.get("precision", {}))
        if self.weights is not None:
            self.weights.proposed.update(checkpoint.facts.get("proposed", {}))
        self.step = checkpoint.facts["step"]

    def _averages(self, found: TensorGroup) -> dict[str, Any]:
        """What the optimiser takes of a checkpoint's tensors. Raises InputError if they are not this model's."""
        fields = empty_tensors(self.model, found.outline)
        found.read(fields)
        if self.spread is not None:
            fields = self.spread.parts(fields)
        return optimizer_state(self.model, self.optimizer, fields, place=str(found.place))


def train(
    state: State,
    batch_of: Callable[[int], Batch],
    spec: TrainSpec,
    observers: Sequence[Observer],
    checkpoints: Checkpoints,
    interruption: Interruption,
    evaluate: Callable[[], Mapping[str, float]] = dict,
) -> bool:
    """Train until ``spec.steps`` updates are made, or someone interrupts. True if the run is complete.

    ``batch_of`` gives the batch of a step, counted from 0: whatever is random in it follows from the step alone.
    ``evaluate`` measures the model as it is then, every ``spec.evaluate_every`` steps and at the end.
    In both cases the last thing done is a checkpoint. Raises DivergedError, after a checkpoint, if an update's loss or
    gradient is not finite and ``spec.non_finite`` is ``stop``, and, after a checkpoint too, what ``evaluate`` raises.
    """
    schedule = spec.schedule.build(steps=spec.steps)
    pretraining = isinstance(spec, PretrainTrainSpec)
    model, optimizer, precision = state.model, state.optimizer, state.precision
    model.train()
    device, ranks = next(model.parameters()).device, checkpoints.ranks
    own = ["rank", ranks.rank] if ranks.rank else []  # each process drops out other units
    proposing = ranks.any_failed(any(isinstance(observer, Proposer) for observer in observers))
    throughput = Throughput(device, precision.dtype)
    verb = "train" if pretraining else "finetune"
    divergence = Divergence(checkpoints.folder.parent, spike=spec.spike, rank=ranks.rank, verb=verb)
    if precision.dtype != torch.float32:
        keep_exact(model)
    if spec.recompute:
        recompute(model)
    if spec.compile:
        compile_blocks(model)
    if not (spec.recompute or spec.compile):
        forget(model)

    def forward(piece: Piece, **asked: Any) -> Any:
        key = (spec.seed, "dropout", state.step, *([piece.number] if piece.number else []), *own)
        torch.manual_seed(keyed_generator(*key).initial_seed())
        with precision.autocast():
            return state.forward(**piece.inputs, **asked)

    def fetched(step: int) -> Batch | None:
        """The batch of a step, unless someone asks to stop while it is waited for."""
        try:
            with interruption.at_once():
                return batch_of(step)
        except Interrupted:
            return None

    def measured() -> Mapping[str, float]:
        """The evaluation that is due after this step, if one is, and nobody asks to stop meanwhile.

        One that fails ends the run, but not before there is a checkpoint of what was trained.
        """
        due = state.step == spec.steps or (spec.evaluate_every and state.step and state.step % spec.evaluate_every == 0)
        if not due:
            return {}
        measures: Mapping[str, float] = {}
        failure = None
        try:
            with interruption.at_once(together=True):
                measures = evaluate()
        except Interrupted:
            pass
        except Exception as error:
            failure = error
        if ranks.any_failed(failure is not None):  # the first measures, while all write the checkpoint
            checkpoints.save(state.tensors(), state.facts())
            raise failure or FirstFailedError("the first process failed")
        for observer in observers if measures else ():
            observer.evaluated({"step": state.step, **measures})
        return measures

    for observer in observers:
        observer.begin(step=state.step, steps=spec.steps)
    measures: Mapping[str, float] = {}
    complete = False
    try:
        measures = measured()  # of the step that a run goes on from, again: observers have forgotten it
        while state.step < spec.steps:
            began = time.perf_counter()
            step = state.step
            batch = fetched(step)
            if ranks.any_failed(interruption.asked) or batch is None:
                break
            with interruption.at_once(together=True):
                freeze(model, spec.freeze_until, step)
                values = state.weights.apply(step) if state.weights is not None else {}
                inputs = batch.on(device)
                # Nobody here looks at states, so that those which no loss reads need not be computed.
                asked = {"losses": batch.losses, "output_states": False} if pretraining else {}
                loaded = time.perf_counter()

                optimizer.zero_grad(set_to_none=True)
                with throughput.counting(batch.stream):
                    parts = list(pieces(inputs, spec.accumulate))
                    if pretraining and spec.grad_cache:
                        totals = cached_gradients(
                            cast(FlavaForPreTraining, model), parts, batch.losses, forward, precision.scale, state.apart
                        )
                    else:
                        totals = Totals()
                        for piece in parts:
                            with state.apart(last=piece is parts[-1]):
                                output = forward(piece, **asked)
                                precision.scale(output.loss * piece.share).backward()
                            totals.add(output, piece.share)
                            del output  # logits and states need not wait for the next step
                leave_frozen(model, spec.freeze_until, step)
                precision.unscale(optimizer)
                norm = gradient_norm(model)
                nn.utils.clip_grads_with_norm_(model.parameters(), spec.clip_norm or float("inf"), norm)
            # From here on the state changes: update, record and checkpoint of a step are made together or not at all.
            rate = spec.optimizer.learning_rate * schedule(step)
            loss, *losses = ranks.means([totals.loss.item(), *(each.item() for each in totals.losses.values())])
            record: dict[str, float | int | str] = {
                "step": step + 1,
                "stream": batch.stream,
                "loss": loss,
                **{f"loss/{name}": each for name, each in zip(totals.losses, losses, strict=True)},
                "gradient_norm": norm.item(),
                "learning_rate": rate,
                **{f"value/{number}": value for number, value in values.items()},
                "images": len(inputs.get("pixel_values", ())) * ranks.size,
                **batch.metrics,
            }
            trouble = divergence.reason(record, is_overflow=precision.may_overflow)
            if trouble == "spike":
                record["trouble"] = divergence.write(trouble, record, batch.samples)
            elif trouble is not None:
                left = checkpoints.save(state.tensors(), state.facts(), measures)
                said = divergence.write(trouble, record, batch.samples, checkpoint=left)
                if spec.non_finite == "stop":
                    raise DivergedError(said)
                precision.leave_out()
                record |= {"trouble": said, "skipped": 1}
            if trouble in (None, "spike"):
                for group in optimizer.param_groups:
                    group["lr"] = rate * group.get(FACTOR, 1.0)
                if precision.step(optimizer) and state.average is not None:
                    state.average.update_parameters(model)
            state.step += 1
            measures = {}

            seconds = time.perf_counter() - began
            record |= {
                "seconds": seconds,
                "data_share": (loaded - began) / seconds,
                "mfu": throughput.share(batch.stream, seconds),
                "memory": throughput.memory(),
            }
            for observer in observers:
                observer.stepped(record)
            if state.weights is not None and proposing:
                state.weights.listen(observers, ranks)
            measures = measured()
            if spec.checkpoint_every and state.step % spec.checkpoint_every == 0:
                checkpoints.save(state.tensors(), state.facts(), measures)
        complete = state.step >= spec.steps and not ranks.any_failed(interruption.asked)
    except Interrupted:
        pass  # in the middle of a step that nobody has seen yet
    finally:
        for observer in observers:
            observer.end()
    checkpoints.save(state.tensors(), state.facts(), measures)
    return complete
