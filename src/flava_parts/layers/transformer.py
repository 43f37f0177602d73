"""The pre-norm transformer that all three encoders of FLAVA are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from .activation import activation as activation_of
from .attention import Attention, RelativePositions, at
from .made_again import made_again
from .output import EncoderOutput
from .padding import Padding


class MLP(nn.Module):
    """Two linear layers around a non-linearity: (B, N, D) to (B, N, D)."""

    def __init__(self, *, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.activation = activation_of(activation)
        self.down = nn.Linear(hidden, width)
        self.forgets = False
        """Whether the backward pass makes the activated states (B, N, 4 D) again, instead of having them kept."""

    def forward(self, states: Tensor) -> Tensor:
        raised = self.up(states)
        hidden = self.activation(raised)
        with made_again(hidden, self.activation, raised, asked=self.forgets):
            return self.down(hidden)


class Block(nn.Module):
    """Attention and MLP, each normed before, dropped out after, and added to what came in."""

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        mlp_width: int,
        activation: str,
        dropout: float,
        attention_dropout: float,
        qkv_bias: bool,
        norm_eps: float,
        relative: RelativePositions | None = None,
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=norm_eps)
        self.attention = Attention(
            width=width, heads=heads, bias=qkv_bias, dropout=attention_dropout, relative=relative
        )
        self.mlp_norm = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = MLP(width=width, hidden=mlp_width, activation=activation)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        states: Tensor,
        bias: Tensor | None = None,
        positions: Tensor | None = None,
        *,
        read: Tensor | None = None,
        padding: Padding | None = None,
        head_mask: Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        normed = self.attention_norm(states)
        with made_again(normed, self.attention_norm, states, asked=self.mlp.forgets):
            attended, weights = self.attention(
                normed,
                bias,
                positions,
                read=read,
                padding=padding,
                head_mask=head_mask,
                output_attentions=output_attentions,
            )
        states = self._sum(at(states, read), self.dropout(attended))
        normed = self.mlp_norm(states)
        with made_again(normed, self.mlp_norm, states, asked=self.mlp.forgets):
            return self._sum(states, self.dropout(self.mlp(normed))), weights

    def _sum(self, states: Tensor, update: Tensor) -> Tensor:
        """Both added, in the memory of the update where the block is to keep little; else that may be looked at."""
        if self.mlp.forgets and update.dtype == states.dtype and not torch.compiler.is_compiling():
            return cast(Tensor, _SumInPlace.apply(states, update))
        return states + update

    def forget(self) -> None:
        """From now on, do not keep outputs of norms and activation for the backward pass, which makes them again: less
        than two thirds of the memory, for a hundredth of the time."""
        self.mlp.forgets = True


class _SumInPlace(torch.autograd.Function):
    """A sum in the memory of its second term. ``add_`` would have the gradient copied, since that is a view."""

    @staticmethod
    def forward(_: Any, states: Tensor, update: Tensor) -> Tensor:
        return update.detach().add_(states)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return gradient, gradient


class Pooler(nn.Module):
    """BERT's pooler: dense and tanh on the first token, (B, N, D) to (B, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, states: Tensor) -> Tensor:
        return self.dense(states[:, 0]).tanh()


class Transformer(nn.Module):
    """A stack of blocks, the final norm, and the optional pooler; the encoders add what comes before.

    Its parts sit directly in the encoder that inherits it, so that a weight is called ``image_encoder.blocks.0...``.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        mlp_width: int | None,
        activation: str,
        dropout: float,
        attention_dropout: float,
        qkv_bias: bool,
        norm_eps: float,
        pooler: bool,
        relative: list[RelativePositions] | None = None,
    ) -> None:
        super().__init__()
        self.width = width
        self.heads = heads
        self.blocks = nn.ModuleList(
            Block(
                width=width,
                heads=heads,
                mlp_width=mlp_width or 4 * width,
                activation=activation,
                dropout=dropout,
                attention_dropout=attention_dropout,
                qkv_bias=qkv_bias,
                norm_eps=norm_eps,
                relative=relative[index] if relative else None,
            )
            for index in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.pooler = Pooler(width) if pooler else None

    def run(
        self,
        states: Tensor,
        bias: Tensor | None = None,
        positions: Tensor | None = None,
        *,
        read: Tensor | None = None,
        with_clean: bool = False,
        clean_read: Tensor | None = None,
        present: Tensor | None = None,
        head_mask: Tensor | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> EncoderOutput:
        """Embedded tokens (B, N, D) through all blocks.

        ``read`` (R,) or (B, R) are the tokens whose states are wanted; the last block leaves the others out, and what
        comes back is (B, R, D). Without dropout they are what they would have been. ``with_clean`` says that there are
        (2 B, N, D) tokens, first those of a clean pass, of whose states ``clean_read`` are wanted: ``clean`` in what
        comes back. ``head_mask`` (heads,), or (depth, heads) with a row a block, multiplies the attention weights of
        each head: 1 leaves it as it is, 0 silences it. Raises ValueError if it has another shape.

        ``present`` (B, N) is true at tokens whose states somebody reads or attends to. All blocks but the last may
        leave out the others, whose states may be anything.
        """
        reads = [clean_read, read] if with_clean else [read]
        padding = None
        if present is not None and not (output_attentions or output_hidden_states or self._is_compiled):
            padding = Padding.around(present.expand(states.shape[:2]))
        of_padding: dict[str, Padding] = {}
        if padding is not None:
            states, of_padding = padding.remove(states), {"padding": padding}
        *before, last = zip(self.blocks, self._factors(head_mask, states.dtype), strict=True)
        hidden_states: list[Tensor] = [states] if output_hidden_states else []
        attentions: list[Tensor] = []
        for block, factors in before:
            states, weights = block(
                states, bias, positions, head_mask=factors, output_attentions=output_attentions, **of_padding
            )
            hidden_states += [states] if output_hidden_states else []
            attentions += [] if weights is None else [weights]
        states = states if padding is None else padding.restore(states)
        of_passes = zip(*(_parts(tensor, len(reads)) for tensor in (states, bias, positions)), reads, strict=True)
        outputs: list[EncoderOutput] = []
        for index, (own, own_bias, own_positions, own_read) in enumerate(of_passes):
            block, factors = last
            own, weights = block(
                own, own_bias, own_positions, read=own_read, head_mask=factors, output_attentions=output_attentions
            )
            normed = self.norm(own)
            outputs.append(
                EncoderOutput(
                    pre_norm=own,
                    last_hidden_state=normed,
                    pooler_output=self.pooler(normed) if self.pooler is not None else None,
                    hidden_states=(*_own(hidden_states, index, len(reads)), own) if output_hidden_states else None,
                    attentions=(*_own(attentions, index, len(reads)), weights) if output_attentions else None,
                )
            )
        return replace(outputs[1], clean=outputs[0]) if with_clean else outputs[0]

    @property
    def _is_compiled(self) -> bool:
        """Whether torch compiles the blocks, as it would do again for every number of tokens."""
        return any(block._compiled_call_impl is not None for block in self.blocks)

    def _factors(self, head_mask: Tensor | None, dtype: torch.dtype) -> Iterable[Tensor | None]:
        """The factors of each block's heads (heads,), or None for each block."""
        depth = len(self.blocks)
        if head_mask is None:
            return [None] * depth
        if head_mask.shape not in ((self.heads,), (depth, self.heads)):
            raise ValueError(
                f"head_mask should be ({self.heads},) or ({depth}, {self.heads}), one factor a head, "
                f"not {tuple(head_mask.shape)}"
            )
        return head_mask.to(dtype).expand(depth, -1).unbind()


def _parts(tensor: Tensor | None, count: int) -> Sequence[Tensor | None]:
    """The rows of each pass; what all rows share, or nothing, is each one's."""
    if count == 1 or tensor is None or tensor.shape[0] == 1:
        return [tensor] * count
    return tensor.chunk(count)


def _own(tensors: Iterable[Tensor], index: int, count: int) -> list[Tensor]:
    """Of each tensor the rows of one pass."""
    return [tensor.chunk(count)[index] for tensor in tensors]
