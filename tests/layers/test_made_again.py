"""What blocks do not keep for the backward pass, since it can make it again."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from flava_parts.layers.made_again import made_again
from flava_parts.layers.transformer import Block
from flava_parts.train.planning import Allocations

B, N, D = 3, 40, 32


def block(activation: str = "gelu", *, dropout: float = 0.0, forgets: bool) -> Block:
    torch.manual_seed(0)
    made = Block(
        width=D,
        heads=4,
        mlp_width=4 * D,
        activation=activation,
        dropout=dropout,
        attention_dropout=0.0,
        qkv_bias=True,
        norm_eps=1e-6,
    )
    if forgets:
        made.forget()
    return made


def learnt(made: Block, states: Tensor, read: Tensor | None, *, autocast: bool) -> list[Tensor]:
    """Output, and gradients of input and weights."""
    states = states.clone().requires_grad_()
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output, _ = made(states, read=read)
    output.square().sum().backward()
    return [output, states.grad, *(weight.grad for weight in made.parameters())]


@settings(deadline=None, max_examples=12)
@given(
    activation=st.sampled_from(["gelu", "gelu_new", "relu", "selu"]),
    dropout=st.sampled_from([0.0, 0.3]),
    read=st.none() | st.lists(st.integers(0, N - 1), min_size=1, max_size=5).map(torch.tensor),
    autocast=st.booleans(),
)
def test_forgetting_changes_no_bit(activation: str, dropout: float, read: Tensor | None, autocast: bool) -> None:
    """Of output and gradients, whatever the block is made of, reads, or is rounded to."""
    states = torch.randn(B, N, D, generator=torch.Generator().manual_seed(0))
    if autocast:
        states = states.bfloat16()  # of which a norm in autocast makes float32
    kept, forgotten = (
        learnt(block(activation, dropout=dropout, forgets=forgets), states, read, autocast=autocast)
        for forgets in (False, True)
    )
    assert all(torch.equal(first, second) for first, second in zip(kept, forgotten, strict=True))


def live(made: Block) -> int:
    """Bytes that live after a forward pass, input and weights aside."""
    states = torch.randn(B, N, D, requires_grad=True)
    with Allocations([states, *made.parameters()]) as counted:
        output, _ = made(states)
        last = torch.empty(2**24)  # larger than all that came and went, so that the peak is now
    assert output.requires_grad
    return counted.peak - last.nbytes


def test_norms_and_activation_are_not_kept() -> None:
    """Of 16 D a token, 6 D are made again: two norms of D, and the MLP's second hidden states of 4 D."""
    whole, lean = live(block(forgets=False)), live(block(forgets=True))

    assert 6 * B * N * D * 4 == pytest.approx(whole - lean, rel=0.05)
    assert lean < 0.66 * whole


def test_second_derivatives_are_the_same() -> None:
    found = []
    for forgets in (False, True):
        made = block(forgets=forgets).double()
        states = torch.randn(1, 4, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        (first,) = torch.autograd.grad(made.mlp(states).square().sum(), states, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), [states, *made.mlp.parameters()], allow_unused=True))
    for first, second in zip(*found, strict=True):
        assert (first is None and second is None) or torch.equal(first, second)


def test_only_the_output_of_a_cheap_layer_is_made_again() -> None:
    """Another layer is not run again, nor is one in whose place something else came."""
    calls: list[str] = []

    class Counted(nn.GELU):
        def forward(self, given: Tensor) -> Tensor:
            calls.append("forward")
            return super().forward(given)

    given, other = (torch.randn(4, 4, requires_grad=True) for _ in range(2))
    for layer in (Counted(), nn.GELU()):
        output = layer(given)
        with made_again(output, layer, given, asked=True):
            product = output * other
        product.sum().backward()
        assert torch.equal(F.gelu(given.detach()), other.grad)
        other.grad = None
    assert calls == ["forward"]


def test_sums_take_the_memory_of_what_is_added_only_where_a_block_forgets() -> None:
    """Elsewhere hooks find what a layer gave as it gave it."""
    states = torch.randn(B, N, D)
    for forgets in (False, True):
        made = block(forgets=forgets)
        seen: list[tuple[Tensor, Tensor]] = []
        for layer in (made.attention.output, made.mlp.down):
            layer.register_forward_hook(lambda _, __, given, seen=seen: seen.append((given, given.clone())))
        output, _ = made(states)

        assert forgets is (output.data_ptr() == seen[-1][0].data_ptr())
        assert all(forgets is not torch.equal(given, copy) for given, copy in seen)
