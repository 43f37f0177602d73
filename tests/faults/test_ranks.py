"""Everything that a training can be told, by processes that have parts of the model."""

from __future__ import annotations

from typing import Any

import pytest
from distributed.test_settings import SETTINGS, assert_alike, by_one_process, by_several


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return by_one_process()


@pytest.mark.parametrize(("parallel", "size", "shard_ranks"), [("fsdp", 2, None), ("hybrid", 4, 2)])
def test_parts_of_a_model_are_trained_as_the_whole(
    alone: dict[str, Any], parallel: str, size: int, shard_ranks: int | None
) -> None:
    assert_alike(alone, by_several(parallel, size, shard_ranks, [*SETTINGS]), [*SETTINGS])
