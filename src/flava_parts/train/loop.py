"""The training loop: batch, losses, update; in plain sight. Pretraining and fine-tuning share it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer

from ..data.keyed import keyed_generator
from ..data.loader import Batch
from .checkpoint import CHECKPOINTS, save_checkpoint
from .interruption import Interruption
from .layer_decay import FACTOR
from .observers import Observer
from .specs import TrainSpec


@dataclass
class State:
    """What changes during a run, all that a resumed run needs: order, masks and dropout follow from seed and step."""

    model: nn.Module
    """Gives an output with `loss` and `losses` for the tensors of a batch."""
    optimizer: Optimizer
    step: int = 0
    """Updates made so far."""


def train(
    state: State,
    batch_of: Callable[[int], Batch],
    spec: TrainSpec,
    observers: Sequence[Observer],
    folder: Path,
    spec_yaml: str,
) -> bool:
    """Train until ``spec.steps`` updates are made, or someone interrupts. True if the run is complete.

    ``batch_of`` gives the batch of a step, counted from 0: whatever is random in it follows from the step alone.
    In both cases the last thing done is a checkpoint in the run's ``folder``.
    """
    schedule = spec.schedule.build(steps=spec.steps)
    model, optimizer = state.model, state.optimizer
    model.train()
    device = next(model.parameters()).device

    def save() -> None:
        save_checkpoint(folder / CHECKPOINTS, step=state.step, model=model, optimizer=optimizer, spec_yaml=spec_yaml)

    with Interruption() as interruption:
        for observer in observers:
            observer.begin(step=state.step, steps=spec.steps)
        try:
            while state.step < spec.steps and not interruption.asked:
                began = time.perf_counter()
                step = state.step
                batch = batch_of(step)
                inputs = {name: tensor.to(device) for name, tensor in batch.tensors.items()}
                asked = {} if batch.losses is None else {"losses": batch.losses}
                loaded = time.perf_counter()

                torch.manual_seed(keyed_generator(spec.seed, "dropout", step).initial_seed())
                output = model(**inputs, **asked)
                optimizer.zero_grad(set_to_none=True)
                output.loss.backward()
                norm = nn.utils.clip_grad_norm_(model.parameters(), spec.clip_norm or float("inf"))
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
                    save()
        finally:
            for observer in observers:
                observer.end()
        save()
    return state.step >= spec.steps
