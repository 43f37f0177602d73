"""Retrieval: ranks as a plain loop counts them, and an evaluation that leaves no trace on the model."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from evaluate.toys import Pairs, Toy, processor
from hypothesis import given, settings
from hypothesis import strategies as st

from flava_parts.errors import InputError
from flava_parts.evaluate import retrieval
from flava_parts.evaluate.captions import Captioned
from flava_parts.evaluate.retrieval import CaptionRetrieval, Retrieval, groups_of, ranks

Vector = list[float]


def naively(queries: list[Vector], keys: list[Vector], query_groups: list[int], key_groups: list[int]) -> list[int]:
    """The ranks by a loop over all pairs."""
    found: list[int] = []
    for query, own in zip(queries, query_groups, strict=True):
        scores = [sum(a * b for a, b in zip(query, key, strict=True)) for key in keys]
        right = [score for score, group in zip(scores, key_groups, strict=True) if group == own]
        best = max(right, default=-math.inf)
        found.append(1 + sum(group != own and score >= best for score, group in zip(scores, key_groups, strict=True)))
    return found


VECTORS = st.lists(st.integers(-2, 2).map(float), min_size=2, max_size=2)
GROUPED = st.lists(st.tuples(VECTORS, st.integers(0, 3)), min_size=1, max_size=9)


@settings(deadline=None, max_examples=100)
@given(queries=GROUPED, keys=GROUPED, scores=st.sampled_from([1, 12, 100]))
def test_ranks_are_those_of_a_plain_loop(
    queries: list[tuple[Vector, int]], keys: list[tuple[Vector, int]], scores: int
):
    """With many ties and groups, different numbers of queries and keys, and in chunks of any size."""
    (query, query_groups), (key, key_groups) = (
        [list(column) for column in zip(*side, strict=True)] for side in (queries, keys)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "SCORES", scores)
        found = ranks(*map(torch.tensor, (query, key, query_groups, key_groups)))

    assert naively(query, key, query_groups, key_groups) == found.tolist()
    assert torch.int64 == found.dtype


def test_a_model_that_says_nothing_finds_nothing():
    """All vectors equal, or not a number: every key of another group comes first."""
    for value in (1.0, float("nan")):
        same = torch.full((7, 3), value)

        assert [7] * 7 == ranks(same, same, torch.arange(7), torch.arange(7)).tolist()


def test_perfect_and_reversed():
    vectors, groups = torch.eye(5), torch.arange(5)

    assert [1] * 5 == ranks(vectors, vectors, groups, groups).tolist()
    assert [5] * 5 == ranks(vectors, -vectors, groups, groups).tolist()
    assert [] == ranks(vectors[:0], vectors, groups[:0], groups).tolist()


@settings(deadline=None, max_examples=20)
@given(batch_size=st.integers(1, 20))
def test_batches_change_nothing(batch_size: int):
    """Twelve pictures, each found by its caption except two that are swapped; and equal captions share pictures."""
    pairs = [(10 * i, f"number {10 * i}") for i in range(12)]
    pairs[3], pairs[4] = (40, pairs[3][1]), (30, pairs[4][1])
    pairs[8] = (70, "number 70")
    toy = Toy()
    result = Retrieval(source=Pairs(pairs), batch_size=batch_size)(toy, processor)  # pyright: ignore

    assert {
        "image_to_text/top1": 10 / 12,
        "image_to_text/top5": 1.0,
        "image_to_text/top10": 1.0,
        "text_to_image/top1": 10 / 12,
        "text_to_image/top5": 1.0,
        "text_to_image/top10": 1.0,
    } == pytest.approx(result.record)
    assert [text for _, text in pairs] == result.captions
    assert (12, 5) == result.ranked.shape
    assert [0, 1, 2, 4, 3, 5, 6, 7, 7, 9, 10, 11] == result.ranked[:, 0].tolist()
    assert all(len({result.captions[j] for j in row}) == 5 for row in result.ranked)
    assert max(toy.batches) <= batch_size


@pytest.mark.parametrize("mode", [True, False])
def test_the_model_is_left_as_it_was(mode: bool):
    """Each module keeps its own mode, also if the evaluation fails; no random number is drawn."""
    toy = Toy().train(mode)
    toy.frozen.eval()
    state = torch.get_rng_state()
    evaluation = Retrieval(source=Pairs([(1, "a 1"), (2, "b 2")]), batch_size=1)
    evaluation(toy, processor)  # pyright: ignore
    with pytest.raises(ValueError, match="invalid literal"):
        Retrieval(source=Pairs([(1, "no number")]), batch_size=1)(toy, processor)  # pyright: ignore

    assert (mode, mode, False) == (toy.training, toy.free.training, toy.frozen.training)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "retrieval needs at least one pair, but its source is empty"),
        ([(1, "a 1"), (None, "b 2")], "1: retrieval needs pairs, but this sample has no picture"),
        ([(1, None)], "0: retrieval needs pairs, but this sample has no text"),
    ],
)
def test_what_cannot_be_evaluated(pairs: list[tuple[int | None, str | None]], message: str):
    with pytest.raises(InputError) as caught:
        Retrieval(source=Pairs(pairs), batch_size=4)(Toy(), processor)  # pyright: ignore

    assert message == str(caught.value)


def test_pictures_to_look_at():
    """Whole pictures, centred in a white square, transparent parts white; the first 64 of them."""
    source = Pairs([(0, f"{i}") for i in range(70)], size=(4, 8, 3))
    result = Retrieval(source=source, batch_size=48)(Toy(), processor)  # pyright: ignore
    clear = Retrieval(source=Pairs([(0, "0")], size=(4, 4, 4)), batch_size=48)(Toy(), processor)  # pyright: ignore

    assert (64, 128, 128, 3) == result.pictures.shape
    assert [255, 0, 255] == result.pictures[63, [10, 64, 120], 64, 0].tolist()
    assert (clear.pictures == 255).all()
    assert (1, 1) == clear.ranked.shape


def test_groups_are_pictures_with_the_same_captions():
    """In any order, and as often as may be."""
    captions = [["a", "b"], ["b"], ["b", "a", "a"], ["b"], ["c", "b"]]

    assert [0, 1, 0, 1, 4] == groups_of(captions).tolist()


def test_several_captions_a_picture(tmp_path: Path):
    """A picture is answered by any of its captions, and each caption by its picture alone."""
    captioned = [
        Captioned(tmp_path / "10", ("it is 10", "it is 12", "it is 30")),
        Captioned(tmp_path / "20", ("it is 21",)),
        Captioned(tmp_path / "30", ("it is 11", "it is 29")),
    ]
    result = CaptionRetrieval(captioned=captioned, batch_size=2)(Toy(), processor)  # pyright: ignore

    assert {
        "image_to_text/top1": 2 / 3,  # 30 is nearest to what 10 is said to be
        "image_to_text/top5": 1.0,
        "image_to_text/top10": 1.0,
        "text_to_image/top1": 4 / 6,  # 30 and 11 lead to each other's pictures
        "text_to_image/top5": 1.0,
        "text_to_image/top10": 1.0,
    } == pytest.approx(result.record)


MEASURE = """
import sys, torch
from flava_parts.evaluate.retrieval import ranks
from flava_parts.train.resident import resident_peak

N = int(sys.argv[1])
image, groups = torch.nn.functional.normalize(torch.randn(N, 32), dim=1), torch.arange(N)
text = torch.nn.functional.normalize(image + 0.15 * torch.randn(N, 32), dim=1)
ranks(image[:64], text[:64], groups[:64], groups[:64])
before = resident_peak()
found = ranks(image, text, groups, groups)
print((resident_peak() - before) / 2**30, (found == 1).double().mean().item())
"""


def test_memory_does_not_grow_with_the_number_of_scores():
    """All scores of 20,000 pictures and 20,000 texts are 1.5 GiB; a sixth of that is enough, in however many chunks."""
    command = [sys.executable, "-c", MEASURE, "20000"]
    grown, top1 = map(float, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())

    assert grown < 0.25
    assert 0.5 < top1 < 1
