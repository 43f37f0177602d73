"""A state of training that is made in a millisecond, and its checkpoints."""

from pathlib import Path

import torch
from torch import nn

from flava_parts.train.checkpoints.saving import Checkpoints
from flava_parts.train.loop import State


def small_state(seed: int = 0) -> State:
    """A model of two layers under AdamW, before its first update."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    return State(model=model, optimizer=torch.optim.AdamW(model.parameters(), lr=0.1))


def update(state: State) -> None:
    """One update, whose input follows from the step alone."""
    inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(state.step))
    state.optimizer.zero_grad()
    state.model(inputs).square().sum().backward()
    state.optimizer.step()
    state.step += 1


def trained(steps: int, seed: int = 0) -> State:
    """A state after so many updates."""
    state = small_state(seed)
    for _ in range(steps):
        update(state)
    return state


def save(folder: Path, state: State, **settings) -> Path:
    """A checkpoint of the state."""
    return Checkpoints(folder, "{}\n", **settings).save(state.tensors(), state.facts())


def equal(first: State, second: State) -> bool:
    """Whether two states agree in every bit."""
    groups, others = first.tensors(), second.tensors()
    return first.facts() == second.facts() and all(
        groups[group].keys() == others[group].keys()
        and all(torch.equal(tensor, others[group][name]) for name, tensor in groups[group].items())
        for group in groups
    )
