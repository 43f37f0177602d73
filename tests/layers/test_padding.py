"""Blocks leave padding out, and what is left is as it was among it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from flava_parts.encoders.text import TextTransformer
from flava_parts.layers.padding import WORTH, Padding

B, L, D = 3, 8, 16

rows = st.lists(st.lists(st.booleans(), min_size=L, max_size=L), min_size=1, max_size=4).map(torch.tensor)


@given(rows, st.integers(1, 3))
def test_what_is_removed_is_restored(present: Tensor, width: int) -> None:
    """To its place, with zeros elsewhere; each is the other's gradient, and few enough tokens are worth it."""
    padding = Padding.around(present)
    assert (padding is not None) == (int(present.sum()) <= WORTH * present.numel())
    if padding is None:
        return
    tokens = torch.randn(*present.shape, width, dtype=torch.float64, requires_grad=True)
    removed = padding.remove(tokens)
    restored = padding.restore(removed)

    assert torch.equal(tokens[present], removed[0])
    assert torch.equal(torch.where(present[..., None], tokens, 0), restored)
    assert torch.autograd.gradcheck(padding.remove, tokens)
    assert torch.autograd.gradgradcheck(padding.restore, removed.detach().requires_grad_())


@pytest.mark.parametrize("position_embedding", ["absolute", "relative_key", "relative_key_query"])
@settings(deadline=None, max_examples=15)
@given(
    lengths=st.lists(st.integers(1, L), min_size=B, max_size=B),
    clean=st.booleans(),
    narrow=st.booleans(),
    forgets=st.booleans(),
)
def test_words_are_as_they_were(
    position_embedding: str, lengths: list[int], clean: bool, narrow: bool, forgets: bool
) -> None:
    """States and gradients, with texts of any length, with both passes together, where the summary alone is read."""
    torch.manual_seed(0)
    encoder = TextTransformer(
        vocab_size=50, length=L, width=D, depth=3, heads=2, position_embedding=position_embedding
    ).double()
    if forgets:
        for block in encoder.blocks:
            block.forget()
    ids = torch.randint(5, 50, (B, L))
    keep = torch.arange(L) < torch.tensor(lengths)[:, None]
    read = torch.zeros(1, dtype=torch.long) if narrow else None

    def found(present: Tensor | None) -> list[Tensor]:
        encoder.zero_grad()
        output = encoder(
            ids.flip(1), keep, read=read, present=present, **({"clean_ids": ids, "clean_read": read} if clean else {})
        )
        outputs = [output, output.clean] if clean else [output]
        real = keep[:, :1] if narrow else keep
        states = [states[real] for each in outputs for states in (each.pre_norm, each.last_hidden_state)]
        torch.stack([(state * torch.arange(1.0, D + 1)).sin().sum() for state in states]).sum().backward()
        return [*states, *(weight.grad for weight in encoder.parameters())]

    for with_padding, without in zip(found(None), found(keep), strict=True):
        torch.testing.assert_close(without, with_padding, rtol=1e-9, atol=1e-9)


def test_one_text_that_both_passes_share_the_mask_of() -> None:
    """A mask of one row is for all."""
    torch.manual_seed(0)
    encoder = TextTransformer(vocab_size=50, length=L, width=D, depth=2, heads=2)
    ids, keep = torch.randint(5, 50, (1, L)), torch.arange(L)[None] < 3
    output = encoder(ids.flip(1), keep, clean_ids=ids, present=keep)

    for states, given_ids in ((output, ids.flip(1)), (output.clean, ids)):
        torch.testing.assert_close(states.pre_norm[keep], encoder(given_ids, keep).pre_norm[keep])


def test_padding_costs_nothing_before_the_last_block() -> None:
    encoder = TextTransformer(vocab_size=50, length=L, width=D, depth=3, heads=2)
    ids, keep = torch.randint(5, 50, (B, L)), torch.arange(L) < torch.tensor([[2], [4], [3]])

    def operations(present: Tensor | None) -> int:
        with FlopCounterMode(display=False) as counter:
            encoder(ids, keep, present=present)
        return sum(n for name, n in counter.get_flop_counts()["Global"].items() if "addmm" in str(name))

    block = 2 * D * D * 12
    assert operations(None) == 3 * block * B * L
    assert operations(keep) == block * (B * L + 2 * (2 + 4 + 3))


def test_states_that_are_asked_for_are_whole() -> None:
    encoder = TextTransformer(vocab_size=50, length=L, width=D, depth=3, heads=2)
    ids, keep = torch.randint(5, 50, (B, L)), (torch.arange(L) < 2).expand(B, L)
    asked = encoder(ids, keep, present=keep, output_hidden_states=True, output_attentions=True)
    whole = encoder(ids, keep, output_hidden_states=True, output_attentions=True)

    for one, other in zip(asked.hidden_states + asked.attentions, whole.hidden_states + whole.attentions, strict=True):
        assert torch.equal(one, other)


def test_compiled_blocks_see_every_token() -> None:
    """Theirs is another number of tokens in every batch, for each of which torch would compile again."""
    torch.manual_seed(0)
    encoder = TextTransformer(vocab_size=50, length=L, width=D, depth=2, heads=2)
    ids, keep = torch.randint(5, 50, (B, L)), (torch.arange(L) < 2).expand(B, L)
    plain = encoder(ids, keep)
    shapes: list[torch.Size] = []
    for block in encoder.blocks:
        block.register_forward_pre_hook(lambda _, given: shapes.append(given[0].shape))
        block.compile(backend="eager")
    compiled = encoder(ids, keep, present=keep)

    assert [(B, L, D)] * 2 == shapes
    torch.testing.assert_close(compiled.pre_norm[keep], plain.pre_norm[keep])
