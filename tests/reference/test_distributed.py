"""The contrastive loss over two processes (gloo), against one process that has the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from reference import ranks
from reference.oracles import assert_close
from reference.ranks import MATCHED, RANKS, ROWS, contrastive, gradients, measure, summaries, whole_model
from torch import Tensor
from torch.nn import functional

from flava_parts.facts import Streams

TOLERANCE = 1e-12
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each rank wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    paths = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen([sys.executable, ranks.__file__, str(rank), str(folder)], env=environment)
        for rank in range(RANKS)
    ]
    try:
        assert [worker.wait(timeout=100) for worker in workers] == [0] * RANKS
    finally:
        for worker in workers:
            worker.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(RANKS)]


def mean(results: list[dict[str, Any]], what: str) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean over ranks of loss and gradients, as data-parallel training takes it."""
    value = sum(result[what]["value"] for result in results) / RANKS
    names = results[0][what]["gradients"]
    return value, {name: sum(result[what]["gradients"][name] for result in results) / RANKS for name in names}


def assert_same(expected: dict[str, Tensor], actual: dict[str, Tensor]) -> None:
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        assert_close(value, actual[name], TOLERANCE, name)


def test_global_backprop_averages_to_the_gradient_of_the_whole_batch(found: list[dict[str, Any]]) -> None:
    whole = measure(contrastive("global"), summaries())
    value, averaged = mean(found, "global")
    assert_close(whole["value"], value, TOLERANCE)
    assert_same(whole["gradients"], averaged)


def test_the_whole_model_averages_to_the_gradient_of_the_whole_batch(found: list[dict[str, Any]]) -> None:
    model, pairs = whole_model()
    output = model(**pairs)
    output.loss.backward()
    value, averaged = mean(found, "model")
    assert_close(output.loss, value, TOLERANCE)
    assert_same(gradients(model), averaged)


def test_each_rank_looks_for_its_own_pairs_among_all(found: list[dict[str, Any]]) -> None:
    assert [result["global"]["targets"].tolist() for result in found] == [[0, 1, 2], [3, 4, 5]]


def one_rank_alone(rank: int, own_rows_count: bool) -> dict[str, Tensor]:
    """The gradients of one rank's loss where the gathered rows are constants, but perhaps its own."""
    loss = contrastive("none")
    image = loss.embed_image(summaries()[Streams.IMAGE_SUMMARY])
    text = loss.embed_text(summaries()[Streams.TEXT_SUMMARY])
    mine = torch.arange(RANKS * ROWS) // ROWS == rank
    kept = mine[:, None] & torch.tensor(own_rows_count)
    images, texts = (torch.where(kept, rows, rows.detach()) for rows in (image, text))
    labels = torch.arange(RANKS * ROWS)[mine]
    scale = loss.logit_scale.exp()
    per_image = functional.cross_entropy(scale * image[mine] @ texts.T, labels)
    per_text = functional.cross_entropy(scale * text[mine] @ images.T, labels)
    ((per_image + per_text) / 2).backward()
    return gradients(loss)


@pytest.mark.parametrize("rank", range(RANKS))
def test_trap_14_local_backprop_keeps_the_gradients_of_own_rows(found: list[dict[str, Any]], rank: int) -> None:
    assert_same(one_rank_alone(rank, own_rows_count=True), found[rank]["local"]["gradients"])


@pytest.mark.parametrize("rank", range(RANKS))
def test_trap_14_no_backprop_is_what_transformers_calls_local(found: list[dict[str, Any]], rank: int) -> None:
    assert_same(one_rank_alone(rank, own_rows_count=False), found[rank]["none"]["gradients"])
    assert_same(found[rank]["transformers none"]["gradients"], found[rank]["none"]["gradients"])


@pytest.mark.parametrize("rank", range(RANKS))
def test_global_backprop_is_that_of_transformers(found: list[dict[str, Any]], rank: int) -> None:
    assert_close(found[rank]["transformers global"]["value"], found[rank]["global"]["value"], TOLERANCE)
    assert_same(found[rank]["transformers global"]["gradients"], found[rank]["global"]["gradients"])


def test_matched_rows_that_differ_per_rank_give_means_per_rank(found: list[dict[str, Any]]) -> None:
    loss = contrastive("global")
    per_image, per_text = loss.logits(summaries())
    rows = torch.arange(RANKS * ROWS)
    each = (
        functional.cross_entropy(per_image, rows, reduction="none")
        + functional.cross_entropy(per_text, rows, reduction="none")
    ) / 2
    for rank, result in enumerate(found):
        mine = MATCHED & (rows // ROWS == rank)
        assert mine.sum() == result["matched"]["count"]
        assert_close(each[mine].mean(), result["matched"]["value"], TOLERANCE)


def test_trap_14_unequal_batches_are_an_error_on_every_rank(found: list[dict[str, Any]]) -> None:
    expected = "the contrastive loss needs the same batch size on every rank; they have [2, 3]"
    assert [expected] * RANKS == [result["unequal"] for result in found]


def test_published_gradients_of_two_processes(found: list[dict[str, Any]]) -> None:
    value, averaged = mean(found, "published")
    assert pytest.approx(3.8848, abs=1e-3) == value.item()
    assert pytest.approx(0.0979, abs=1e-3) == averaged["image_projection.weight"].mean().item()
    assert pytest.approx(-1.8151, abs=1e-3) == averaged["text_projection.bias"].mean().item()
    assert pytest.approx(3.6792, abs=1e-3) == averaged["logit_scale"].item()
