"""Retrieval: ranks as a plain loop counts them, and an evaluation that leaves no trace on the model."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from flava_parts.data.sample import Sample
from flava_parts.errors import InputError
from flava_parts.evaluate import retrieval
from flava_parts.evaluate.retrieval import Retrieval, ranks


class Pairs:
    """Pairs of a one-coloured picture and a caption; None leaves a side out."""

    def __init__(self, pairs: Sequence[tuple[int | None, str | None]], size: tuple[int, int, int] = (4, 6, 3)) -> None:
        self.pairs = pairs
        self.size = size

    def __len__(self) -> int:
        return len(self.pairs)

    def sample(self, index: int, generator: torch.Generator | None = None) -> Sample:
        assert generator is None
        colour, text = self.pairs[index]
        return Sample(str(index), None if colour is None else np.full(self.size, colour, dtype=np.uint8), text)


def processor(*, images: list[np.ndarray], text: list[str], padding: bool) -> dict[str, Tensor]:
    """The colour of each picture, and the number in each text."""
    assert padding
    ids = torch.tensor([[int(words.rsplit(maxsplit=1)[-1])] for words in text])
    pixels = torch.tensor([[float(image.flat[0])] for image in images])
    ones = torch.ones_like(ids)
    return {"pixel_values": pixels, "input_ids": ids, "attention_mask": ones, "token_type_ids": 0 * ones}


class Toy(nn.Module):
    """A model that maps numbers to places on a circle, if it is not in training, and keeps one frozen part."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Dropout().eval()
        self.free = nn.Dropout(0.5)
        self.weight = nn.Parameter(torch.zeros(()))
        self.batches: list[int] = []

    def embed_image(self, pixel_values: Tensor) -> Tensor:
        assert torch.is_inference_mode_enabled()
        self.batches.append(len(pixel_values))
        angle = self.free(pixel_values) / 100
        return torch.cat([angle.sin(), angle.cos()], dim=1)

    def embed_text(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        assert attention_mask.all()
        assert not token_type_ids.any()
        return self.embed_image(input_ids.float())


def naively(queries: list[list[float]], keys: list[list[float]], groups: list[int]) -> list[int]:
    """The ranks by a loop over all pairs."""
    found: list[int] = []
    for query, own in zip(queries, groups, strict=True):
        scores = [sum(a * b for a, b in zip(query, key, strict=True)) for key in keys]
        best = max(score for score, group in zip(scores, groups, strict=True) if group == own)
        found.append(1 + sum(group != own and score >= best for score, group in zip(scores, groups, strict=True)))
    return found


VECTORS = st.lists(st.integers(-2, 2).map(float), min_size=2, max_size=2)


@settings(deadline=None, max_examples=100)
@given(
    pairs=st.lists(st.tuples(VECTORS, VECTORS, st.integers(0, 3)), min_size=1, max_size=9),
    chunk=st.sampled_from([1, 2, 100]),
)
def test_ranks_are_those_of_a_plain_loop(pairs: list[tuple[list[float], list[float], int]], chunk: int):
    """With many ties and groups, in chunks of any size."""
    queries, keys, groups = (list(column) for column in zip(*pairs, strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "CHUNK", chunk)
        found = ranks(torch.tensor(queries), torch.tensor(keys), torch.tensor(groups))

    assert naively(queries, keys, groups) == found.tolist()
    assert torch.int64 == found.dtype


def test_a_model_that_says_nothing_finds_nothing():
    """All vectors equal, or not a number: every key of another group comes first."""
    for value in (1.0, float("nan")):
        same = torch.full((7, 3), value)

        assert [7] * 7 == ranks(same, same, torch.arange(7)).tolist()


def test_perfect_and_reversed():
    vectors, groups = torch.eye(5), torch.arange(5)

    assert [1] * 5 == ranks(vectors, vectors, groups).tolist()
    assert [5] * 5 == ranks(vectors, -vectors, groups).tolist()
    assert [] == ranks(vectors[:0], vectors[:0], groups[:0]).tolist()


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
