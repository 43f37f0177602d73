"""One token a row is attended for without keys and values, and finds what it would have found with them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from flava_parts.layers.attention import Attention, keep_bias

B, N, D, HEADS = 3, 10, 24, 4


def found(
    attention: Attention, states: Tensor, read: Tensor, bias: Tensor | None, *, whole: bool, head_mask: Tensor | None
) -> list[Tensor]:
    """What the tokens find, and gradients of states and weights; ``whole`` has them found for all tokens first."""
    states = states.clone().requires_grad_()
    attention.zero_grad()
    if whole:
        output = attention(states, bias, head_mask=head_mask)[0].gather(1, read.view(-1, 1, 1).expand(B, 1, D))
    else:
        output, _ = attention(states, bias, read=read, head_mask=head_mask)
    output.square().sum().backward()
    return [output, states.grad, *(weight.grad for weight in attention.parameters())]


@settings(deadline=None, max_examples=40)
@given(
    places=st.lists(st.integers(0, N - 1), min_size=B, max_size=B),
    lengths=st.none() | st.lists(st.integers(1, N), min_size=B, max_size=B),
    own=st.booleans(),
    biased=st.booleans(),
    masked=st.booleans(),
)
def test_one_token_finds_what_it_finds_among_all(
    places: list[int], lengths: list[int] | None, own: bool, biased: bool, masked: bool
) -> None:
    """Wherever it is, however much is padding; gradients too."""
    torch.manual_seed(0)
    attention = Attention(width=D, heads=HEADS, bias=biased).double()
    states = torch.randn(B, N, D, dtype=torch.float64)
    keep = None if lengths is None else torch.arange(N) < torch.tensor(lengths)[:, None]
    if own and keep is not None:  # one row of what to keep for each token that attends
        keep = keep[:, None].expand(B, N, N) | torch.eye(N, dtype=torch.bool)
    read = torch.tensor(places)[:, None]
    head_mask = torch.rand(HEADS, dtype=torch.float64) if masked else None
    bias = keep_bias(keep, states.dtype)

    whole, alone = (found(attention, states, read, bias, whole=w, head_mask=head_mask) for w in (True, False))

    for first, second in zip(whole, alone, strict=True):
        torch.testing.assert_close(second, first, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_row_of_padding_stays_finite_in_half_precision(dtype: torch.dtype) -> None:
    attention = Attention(width=D, heads=HEADS).to(dtype)
    bias = keep_bias(torch.zeros(B, N), dtype)

    output, _ = attention(100 * torch.randn(B, N, D).to(dtype), bias, read=torch.tensor([0]))

    assert dtype == output.dtype
    assert output.isfinite().all()


def products(attention: Attention) -> int:
    """Operations of matrix products of two matrices for one token a row."""
    with FlopCounterMode(display=False) as counter:
        attention(torch.randn(B, N, D), read=torch.tensor([0]))
    counts = counter.get_flop_counts()["Global"]
    return sum(count for name, count in counts.items() if str(name) in ("aten.addmm", "aten.mm", "aten.bmm"))


def test_keys_and_values_are_made_where_somebody_needs_them() -> None:
    """Not in general; but where a hook looks at them, something else makes them, or dropout draws their noise."""
    carried = 2 * B * (4 * D * D + 2 * HEADS * N * D)
    attention = Attention(width=D, heads=HEADS)
    assert carried == products(attention)

    seen: list[Tensor] = []
    hook = attention.key.register_forward_hook(lambda _, __, keys: seen.append(keys))
    made = 2 * B * (2 * N + 2) * D * D  # attention's own are not counted on a CPU
    assert made == products(attention)
    assert [(B, N, D)] == [keys.shape for keys in seen]

    hook.remove()
    attention.value = nn.Sequential(attention.value)
    assert made == products(attention)
    attention = Attention(width=D, heads=HEADS, dropout=0.5)
    assert made + 4 * B * N * D == products(attention)  # with dropout they are
    assert carried == products(attention.eval())
