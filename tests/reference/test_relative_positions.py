"""Relative positions against their published formulas, with explicit loops; transformers only names them.

Shaw, Uszkoreit and Vaswani 2018, equation 4: e_ij = (x_i W_Q) (x_j W_K + a_ij)^T / sqrt(d), where a_ij is a learnt
vector of the distance between i and j. Huang, Liang, Xu and Xiang 2020, method 4:
e_ij = (q_i k_j + q_i a_ij + k_j a_ij) / sqrt(d).
"""

from __future__ import annotations

import math

import pytest
import torch
from reference.oracles import assert_close, randomise
from torch import Tensor

from flava_parts.encoders.text import TextTransformer
from flava_parts.layers.attention import Attention, RelativePositions, keep_bias

LENGTH, WIDTH, HEADS = 7, 12, 3
METHODS = [False, True]
TOLERANCE = 1e-12


def attention(*, with_keys: bool, seed: int = 0) -> Attention:
    relative = RelativePositions(length=LENGTH, head_width=WIDTH // HEADS, with_keys=with_keys)
    layer = Attention(width=WIDTH, heads=HEADS, relative=relative).double().eval()
    randomise(layer, seed)
    return layer


def published(layer: Attention, states: Tensor, positions: list[int], *, with_keys: bool) -> tuple[Tensor, Tensor]:
    """Output (N, D) and weights (heads, N, N) of one sequence, one number at a time."""
    count, depth = len(positions), WIDTH // HEADS
    query, key, value = (linear(states) for linear in (layer.query, layer.key, layer.value))
    table = layer.relative.distances.weight
    weights = torch.zeros(HEADS, count, count, dtype=torch.float64)
    context = torch.zeros(count, WIDTH, dtype=torch.float64)
    for head in range(HEADS):
        mine = slice(head * depth, (head + 1) * depth)
        for i in range(count):
            scores = []
            for j in range(count):
                vector = table[positions[i] - positions[j] + LENGTH - 1]
                score = query[i, mine] @ (key[j, mine] + vector)
                if with_keys:
                    score = score + key[j, mine] @ vector
                scores.append(score / math.sqrt(depth))
            weights[head, i] = torch.stack(scores).softmax(dim=0)
            for j in range(count):
                context[i, mine] += weights[head, i, j] * value[j, mine]
    return layer.output(context), weights


@torch.no_grad()
@pytest.mark.parametrize("with_keys", METHODS)
@pytest.mark.parametrize("positions", [[0, 1, 2, 3, 4], [6, 0, 3, 3, 1]])
def test_attention_follows_the_published_formula(with_keys: bool, positions: list[int]) -> None:
    layer = attention(with_keys=with_keys)
    states = torch.randn(2, len(positions), WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    given = torch.tensor(positions)[None]
    fast, _ = layer(states, None, given)
    output, weights = layer(states, None, given, output_attentions=True)
    for row in range(2):
        expected, expected_weights = published(layer, states[row], positions, with_keys=with_keys)
        assert_close(expected, fast[row], TOLERANCE, "through torch's kernel")
        assert_close(expected, output[row], TOLERANCE, "with weights")
        assert_close(expected_weights, weights[row], TOLERANCE, "weights")


def encoder(position_embedding: str) -> TextTransformer:
    text = TextTransformer(
        vocab_size=19, length=LENGTH, width=WIDTH, depth=2, heads=HEADS, position_embedding=position_embedding
    )
    randomise(text, 0)
    return text.double().eval()


def inputs() -> tuple[Tensor, Tensor]:
    ids = torch.randint(1, 19, (2, 5), generator=torch.Generator().manual_seed(2))
    return ids, torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


@torch.no_grad()
@pytest.mark.parametrize("position_embedding", ["relative_key", "relative_key_query"])
def test_only_distances_matter(position_embedding: str) -> None:
    text = encoder(position_embedding)
    ids, keep = inputs()
    counted, shifted, swapped = (
        text(ids, keep, position_ids=positions).last_hidden_state
        for positions in (None, torch.arange(5)[None] + 2, torch.tensor([[0, 2, 1, 3, 4]]))
    )
    assert_close(counted, shifted, TOLERANCE)
    assert (counted - swapped).abs().max() > 1e-2
    assert text.position_embedding is None


@torch.no_grad()
def test_absolute_positions_do_matter() -> None:
    text = encoder("absolute")
    ids, keep = inputs()
    counted, shifted = (
        text(ids, keep, position_ids=positions).last_hidden_state for positions in (None, torch.arange(5)[None] + 2)
    )
    assert (counted - shifted).abs().max() > 1e-2


@torch.no_grad()
@pytest.mark.parametrize("position_embedding", ["relative_key", "relative_key_query"])
def test_padding_stays_hidden(position_embedding: str) -> None:
    text = encoder(position_embedding)
    ids, keep = inputs()
    other = torch.where(keep.bool(), ids, 18)
    before, after = (text(words, keep).last_hidden_state[keep.bool()] for words in (ids, other))
    assert torch.equal(before, after)


@pytest.mark.parametrize("with_keys", METHODS)
def test_gradients_agree_with_finite_differences(with_keys: bool) -> None:
    layer = attention(with_keys=with_keys)
    states = torch.randn(1, 3, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    keep = keep_bias(torch.tensor([[1, 1, 0]]), torch.float64)

    def output(table: Tensor) -> Tensor:
        return torch.func.functional_call(
            layer, {"relative.distances.weight": table}, (states, keep, torch.arange(3)[None])
        )[0]

    assert torch.autograd.gradcheck(output, layer.relative.distances.weight.detach().clone().requires_grad_())


def test_positions_that_rows_share_are_laid_out_once() -> None:
    """Nothing is kept for the backward pass that has a vector for each two tokens of each row."""
    layer = attention(with_keys=True)
    rows, kept = 16, [0]

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.untyped_storage().nbytes() // 8)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(torch.randn(rows, LENGTH, WIDTH, dtype=torch.float64), positions=torch.arange(LENGTH)[None])

    assert max(kept) < rows * LENGTH * LENGTH * WIDTH // HEADS
