"""All six losses over several processes, against one process that has the whole batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from distributed.batches import MATCHES, ROWS, batches, tiny_model
from distributed.processes import in_ranks
from numpy.typing import NDArray
from torch import Tensor, nn

Arrays = dict[str, NDArray[np.float64]]
LOSSES = {
    "images": {"mim"},
    "texts": {"mlm"},
    "pairs": {"mmm_image", "mmm_text", "itm", "global_contrastive"},
}
ALL_NEGATIVE = torch.tensor([0, 0, 0, 0, 1, 1, 1, 0])


def gradients(model: nn.Module) -> Arrays:
    return {name: weight.grad.numpy() for name, weight in model.named_parameters() if weight.grad is not None}


def step(batch: dict[str, Tensor], means: str = "global", **losses: Any) -> tuple[Arrays, Arrays]:
    """The losses of a batch, and their gradients, in double precision: what is told apart is not rounding."""
    model = tiny_model(**losses).double()
    model.loss_means = means
    output = model(
        **{name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in batch.items()}
    )
    output.loss.backward()
    return {name: value.detach().numpy() for name, value in output.losses.items()}, gradients(model)


def mine(batch: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    rows = ROWS // dist.get_world_size()
    return {name: tensor[rank * rows :][:rows] for name, tensor in batch.items()}


def averaged(arrays: Arrays) -> Arrays:
    """The mean over ranks, as data-parallel training takes it."""
    for array in arrays.values():
        dist.all_reduce(torch.from_numpy(array))
    return {name: array / dist.get_world_size() for name, array in arrays.items()}


def work(rank: int) -> dict[str, Any]:
    """Every batch, each rank with its rows."""
    pairs = batches()["pairs"]
    found: dict[str, Any] = {name: tuple(map(averaged, step(mine(batch, rank)))) for name, batch in batches().items()}
    found["chunked"] = tuple(map(averaged, step(mine(pairs, rank), global_contrastive={"chunk_size": 1})))
    judged = mine(pairs | {"itm_labels": ALL_NEGATIVE}, rank)
    found["as_positive"] = tuple(map(averaged, step(judged, itm={"all_negative": "as_positive"})))
    found["local"] = step(mine(pairs, rank), means="local")
    return found


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return in_ranks(work, request.param)


def assert_close(expected: Arrays, actual: Arrays, tolerance: float = 1e-9) -> None:
    """Relative to the largest entry of each; the gradient of a key's bias is 0, and what is left of it rounding."""
    assert expected.keys() == actual.keys()
    for name, array in expected.items():
        assert tolerance * max(np.abs(array).max(), 1e-2) >= np.abs(array - actual[name]).max(), name


@pytest.mark.parametrize("use", LOSSES)
def test_the_mean_over_ranks_is_the_whole_batch(ranks: list[dict[str, Any]], use: str) -> None:
    """However unevenly masks and true pairs are spread: each rank's share counts by its rows."""
    losses, gradients = step(batches()[use])

    assert LOSSES[use] == losses.keys()
    for rank in ranks:
        assert_close(losses, rank[use][0])
        assert_close(gradients, rank[use][1])


def test_chunks_of_logits_change_nothing(ranks: list[dict[str, Any]]) -> None:
    losses, gradients = step(batches()["pairs"])

    assert_close(losses, ranks[0]["chunked"][0])
    assert_close(gradients, ranks[0]["chunked"][1])


def test_a_rank_without_true_pairs_looks_at_the_whole_batch(ranks: list[dict[str, Any]]) -> None:
    """`as_positive` is for batches without a true pair: this one has three, all on the last ranks."""
    batch = batches()["pairs"] | {"itm_labels": ALL_NEGATIVE}
    losses, gradients = step(batch, itm={"all_negative": "as_positive"})

    assert_close(losses, ranks[0]["as_positive"][0])
    assert_close(gradients, ranks[0]["as_positive"][1])


def test_local_means_are_each_rank_by_itself(ranks: list[dict[str, Any]]) -> None:
    """What the references do: a row counts more where a rank has fewer of them."""
    rows = ROWS // len(ranks)
    for rank, found in enumerate(ranks):
        alone = {name: tensor[rank * rows :][:rows] for name, tensor in batches()["pairs"].items()}
        losses, _ = step(alone)
        without_others = {name: value for name, value in losses.items() if name != "global_contrastive"}
        assert_close(without_others, {name: found["local"][0][name] for name in without_others}, 1e-6)


def test_local_means_are_not_the_whole_batch(ranks: list[dict[str, Any]]) -> None:
    losses, _ = step(batches()["pairs"])
    local = {name: np.mean([rank["local"][0][name] for rank in ranks]) for name in losses}

    assert MATCHES != sorted(MATCHES)
    assert all(abs(losses[name] - local[name]) > 1e-3 for name in ("mmm_image", "mmm_text", "global_contrastive"))
