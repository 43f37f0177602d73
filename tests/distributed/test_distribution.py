"""Training by several processes, against one that has the whole batch; and what they keep, moved between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from distributed.batches import ROWS, batches, tiny_model
from distributed.processes import in_ranks
from numpy.typing import NDArray
from torch import nn

from flava_parts.errors import InputError
from flava_parts.train.distribution import Parallel, Spread, gradient_norm, mesh_of, spread
from flava_parts.train.optimizer_state import optimizer_state, optimizer_tensors
from flava_parts.train.optimizers import adamw

Arrays = dict[str, NDArray[Any]]
WAYS: list[tuple[Parallel, int, int | None]] = [("ddp", 2, None), ("fsdp", 2, None), ("hybrid", 4, 2)]
"""How, by how many processes, in groups of how many."""


def train(
    rank: int,
    parallel: Parallel,
    shard_ranks: int | None = None,
    begun: tuple[Arrays, ...] | None = None,
    steps: int = 3,
) -> dict[str, Any]:
    """A step of images, one of texts, one of pairs, and again; from what was kept, if that is given."""
    model = tiny_model()
    trained = spread(model, parallel, shard_ranks=shard_ranks)
    optimizer = adamw(model=model, learning_rate=1e-2)
    if begun is not None:
        weights, averages = ({name: torch.tensor(array) for name, array in kept.items()} for kept in begun)
        model.load_state_dict(trained.parts(weights))
        optimizer.load_state_dict(optimizer_state(model, optimizer, trained.parts(averages), place=""))
    found: dict[str, Any] = {"kept": kept(trained, optimizer), "losses": [], "norms": [], "reached": []}
    size = dist.get_world_size() if dist.is_initialized() else 1
    for step in range(steps):
        rows = ROWS // size
        batch = {name: rows_of[rank * rows :][:rows] for name, rows_of in list(batches().values())[step % 3].items()}
        loss = trained.forward(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        norm = gradient_norm(model)
        nn.utils.clip_grads_with_norm_(model.parameters(), 1.0, norm)
        optimizer.step()
        loss = loss.detach() / size
        if size > 1:
            dist.all_reduce(loss)
        found["losses"].append(loss.item())
        found["norms"].append(norm.item())
        found["reached"].append(sum(weight.grad is not None for weight in model.parameters()))
    return found | {"end": kept(trained, optimizer)}


def kept(trained: Spread, optimizer: torch.optim.Optimizer) -> tuple[Arrays, ...]:
    """Weights and averages, whole; of several processes on the first."""
    groups = {"model": trained.model.state_dict(), "optimizer": optimizer_tensors(trained.model, optimizer)}
    if dist.is_initialized():
        groups = trained.whole(groups)
    return tuple({name: tensor.numpy().copy() for name, tensor in named.items()} for named in groups.values())


@pytest.fixture(scope="module")
def begun() -> tuple[Arrays, ...]:
    """What one process keeps after three steps."""
    return train(0, "ddp")["end"]


@pytest.fixture(scope="module")
def alone(begun: tuple[Arrays, ...]) -> dict[str, Any]:
    """Six more steps of one process."""
    return train(0, "ddp", None, begun, 6)


def assert_equal(expected: tuple[Arrays, ...], actual: tuple[Arrays, ...]) -> None:
    for before, after in zip(expected, actual, strict=True):
        assert before.keys() == after.keys()
        for name, array in before.items():
            assert array.shape == after[name].shape, name
            assert np.array_equal(array, after[name]), name


@pytest.mark.parametrize(("parallel", "size", "shard_ranks"), WAYS, ids=[way[0] for way in WAYS])
def test_several_processes_train_as_one_does_and_keep_what_it_keeps(
    begun: tuple[Arrays, ...], alone: dict[str, Any], parallel: Parallel, size: int, shard_ranks: int | None
) -> None:
    """Six steps that reach different parameters, from what one process kept; and what they keep goes on in one."""
    ranks = in_ranks(train, size, parallel, shard_ranks, begun, 6)

    # Weights and averages come back whole and bit for bit, scalars as scalars, on rank 0 alone.
    assert_equal(begun, ranks[0]["kept"])
    assert all(rank["kept"] == () for rank in ranks[1:])
    for rank in ranks:
        assert pytest.approx(alone["losses"], rel=1e-5) == rank["losses"]
        assert pytest.approx(alone["norms"], rel=1e-4) == rank["norms"]  # torch adds up squares in another order
        assert alone["reached"] == rank["reached"]  # what a step does not reach has no gradient
    assert len(set(alone["reached"])) > 1
    assert_equal(ranks[0]["end"], train(0, "ddp", None, ranks[0]["end"], 0)["kept"])


def test_processes_that_cannot_be_cut_into_groups_are_an_error() -> None:
    with pytest.raises(InputError, match="8 processes cannot be cut into groups of 3"):
        mesh_of("hybrid", 8, "cpu", shard_ranks=3)
