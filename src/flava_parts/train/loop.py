"""The training loop: batch, losses, update; in plain sight. Pretraining and fine-tuning share it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..data.keyed import keyed_generator
from ..data.loader import Batch
from .checkpoints.layout import file_of
from .checkpoints.loading import Checkpoint
from .checkpoints.saving import Checkpoints
from .checkpoints.tensor_files import check_fit
from .interruption import Interrupted, Interruption
from .layer_decay import FACTOR
from .observers import Observer
from .optimizer_state import optimizer_scalars, optimizer_state, optimizer_tensors, put_scalars
from .specs import TrainSpec


@dataclass
class State:
    """What changes during a run, all that a resumed run needs: order, masks and dropout follow from seed and step."""

    model: nn.Module
    """Gives an output with `loss` and `losses` for the tensors of a batch."""
    optimizer: Optimizer
    step: int = 0
    """Updates made so far."""

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All tensors by group and name; each group becomes a file of a checkpoint, ``<group>.safetensors``."""
        return {"model": self.model.state_dict(), "optimizer": optimizer_tensors(self.model, self.optimizer)}

    def facts(self) -> dict[str, Any]:
        """All else, as JSON has it; goes into a checkpoint's `state.json`."""
        return {"step": self.step, "param_groups": optimizer_scalars(self.optimizer)}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Become what `tensors` and `facts` told when the checkpoint was written.

        Everything is compared before anything is changed. Raises InputError, which names the file, for what is missing,
        unexpected, or of another shape or type.
        """
        place = checkpoint.path
        model, optimizer = (checkpoint.tensors.get(group, {}) for group in ("model", "optimizer"))
        check_fit(model, self.model, place=str(place / file_of("model")), exactly=True)
        averages = optimizer_state(self.model, self.optimizer, optimizer, place=str(place / file_of("optimizer")))
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(averages)
        put_scalars(checkpoint.facts.get("param_groups", ()), self.optimizer)
        self.step = checkpoint.facts["step"]


def train(
    state: State,
    batch_of: Callable[[int], Batch],
    spec: TrainSpec,
    observers: Sequence[Observer],
    checkpoints: Checkpoints,
    interruption: Interruption,
) -> bool:
    """Train until ``spec.steps`` updates are made, or someone interrupts. True if the run is complete.

    ``batch_of`` gives the batch of a step, counted from 0: whatever is random in it follows from the step alone.
    In both cases the last thing done is a checkpoint.
    """
    schedule = spec.schedule.build(steps=spec.steps)
    model, optimizer = state.model, state.optimizer
    model.train()
    device = next(model.parameters()).device

    for observer in observers:
        observer.begin(step=state.step, steps=spec.steps)
    try:
        while state.step < spec.steps and not checkpoints.ranks.any_failed(interruption.asked):
            began = time.perf_counter()
            step = state.step
            with interruption.at_once():
                batch = batch_of(step)
                inputs = {name: tensor.to(device) for name, tensor in batch.tensors.items()}
                asked = {} if batch.losses is None else {"losses": batch.losses}
                loaded = time.perf_counter()

                torch.manual_seed(keyed_generator(spec.seed, "dropout", step).initial_seed())
                output = model(**inputs, **asked)
                optimizer.zero_grad(set_to_none=True)
                output.loss.backward()
                norm = nn.utils.clip_grad_norm_(model.parameters(), spec.clip_norm or float("inf"))
            # From here on the state changes: update, record and checkpoint of a step are made together or not at all.
            rate = spec.optimizer.learning_rate * schedule(step)
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get(FACTOR, 1.0)
            optimizer.step()
            state.step += 1

            seconds = time.perf_counter() - began
            record = {
                "step": state.step,
                "stream": batch.stream,
                "loss": output.loss.item(),
                **{f"loss/{name}": loss.item() for name, loss in output.losses.items()},
                "gradient_norm": norm.item(),
                "learning_rate": rate,
                "images": len(inputs.get("pixel_values", ())),
                "seconds": seconds,
                "data_share": (loaded - began) / seconds,
            }
            for observer in observers:
                observer.stepped(record)
            if spec.checkpoint_every and state.step % spec.checkpoint_every == 0:
                checkpoints.save(state.tensors(), state.facts())
    except Interrupted:
        pass  # in the middle of a step that nobody has seen yet
    finally:
        for observer in observers:
            observer.end()
    checkpoints.save(state.tensors(), state.facts())
    return state.step >= spec.steps
