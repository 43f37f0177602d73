"""Multi-head self-attention, and the two ways of telling it about keys: which to keep, and how far away they are."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .padding import Padding


def keep_bias(keep: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A keep mask (B, N), true or 1 where a token is real, as what is added to the scores: (B, 1, 1, N).

    One for each token that attends, (B, N, N), becomes (B, 1, N, N). The least finite number stands for "never", so
    that a row without any real token stays finite.
    """
    if keep is None:
        return None
    never = torch.finfo(dtype).min
    bias = torch.zeros(keep.shape, dtype=dtype, device=keep.device).masked_fill(~keep.bool(), never)
    return bias[:, None, None] if keep.dim() == 2 else bias[:, None]


def at(tokens: Tensor, positions: Tensor | None) -> Tensor:
    """Tokens (B, N, ...) at positions (R,), the same in every row, or (B, R): (B, R, ...). All of them if None."""
    if positions is None:
        return tokens
    if positions.dim() == 1:
        return tokens.index_select(1, positions)
    tokens = tokens.expand(positions.shape[0], *tokens.shape[1:])
    trailing = tokens.shape[2:]
    return tokens.gather(1, positions.reshape(*positions.shape, *(1 for _ in trailing)).expand(-1, -1, *trailing))


class RelativePositions(nn.Module):
    """Learnt vectors for distances between tokens, added to attention scores.

    With queries alone it is Shaw et al. 2018, equation 4 (on keys); with keys as well, Huang et al. 2020, method 4.
    Scores gain ``q_i . e_(i-j) / sqrt(d)``, and ``k_j . e_(i-j) / sqrt(d)`` where ``with_keys``.
    """

    def __init__(self, *, length: int, head_width: int, with_keys: bool) -> None:
        super().__init__()
        self.length = length
        self.with_keys = with_keys
        self.distances = nn.Embedding(2 * length - 1, head_width)

    def forward(self, query: Tensor, key: Tensor, positions: Tensor, read: Tensor | None = None) -> Tensor:
        """Queries (B, heads, R, d), keys (B, heads, N, d) and positions (B or 1, N) to a bias (B, heads, R, N).

        ``read`` (R,) or (B, R) says which tokens the queries are of; all N if not given.
        """
        distance = at(positions, read)[:, :, None] - positions[:, None, :] + self.length - 1
        vectors = self.distances(distance)
        of_pair = "bijd"
        if len(vectors) == 1:  # the same in all rows, which expanding them would lay out once for each
            vectors, of_pair = vectors[0], "ijd"
        bias = torch.einsum(f"bhid,{of_pair}->bhij", query, vectors)
        if self.with_keys:
            bias = bias + torch.einsum(f"bhjd,{of_pair}->bhij", key, vectors)
        return bias / math.sqrt(query.shape[-1])


class Attention(nn.Module):
    """Multi-head self-attention: (B, N, D) to (B, N, D), through torch's scaled dot product attention."""

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        bias: bool = True,
        dropout: float = 0.0,
        relative: RelativePositions | None = None,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(width, width, bias=bias)
        self.value = nn.Linear(width, width, bias=bias)
        self.output = nn.Linear(width, width)
        self.relative = relative

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
        """Attend; ``bias`` broadcasts to (B, heads, N, N). Also the weights (B, heads, N, N), if they are asked for.

        ``read`` (R,) or (B, R) are the tokens that attend, all N if not given; what comes back is (B, R, D).
        ``head_mask`` (heads,) multiplies the weights of each head, after dropout. Where ``padding`` was removed, states
        and what comes back are (1, T, D); they are as they would be among it. Then all attend.
        """
        if bias is not None and bias.shape[2] > 1:
            bias = at(bias.transpose(1, 2), read).transpose(1, 2)
        dropout = self.dropout if self.training else 0.0
        query = self._in_heads(self.query(at(states, read)), padding)
        weights = None
        if query.shape[2] == 1 and not output_attentions and not dropout and self._is_plain:
            context = self._carried(query, states, bias)
        else:
            key, value = (self._in_heads(layer(states), padding) for layer in (self.key, self.value))
            if self.relative is not None and positions is not None:
                distance_bias = self.relative(query, key, positions, read)
                bias = distance_bias if bias is None else bias + distance_bias
            if output_attentions:
                scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
                weights = F.dropout((scores if bias is None else scores + bias).softmax(dim=-1), dropout)
                if head_mask is not None:
                    weights = weights * head_mask[:, None, None]
                context = weights @ value
            else:
                context = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        if head_mask is not None and weights is None:  # a factor of all weights of a head is one of what they add up to
            context = context * head_mask[:, None, None]
        context = context.transpose(1, 2).flatten(2)
        return self.output(context if padding is None else padding.remove(context)), weights

    def _in_heads(self, tokens: Tensor, padding: Padding | None) -> Tensor:
        """(B, N, D), or (1, T, D) without padding, to (B, heads, N, d)."""
        tokens = tokens if padding is None else padding.restore(tokens)
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    @property
    def _is_plain(self) -> bool:
        """Whether keys and values are what their layers' weights say, and nobody looks at them: there are no hooks."""
        return self.relative is None and not any(
            type(layer) is not nn.Linear or layer._forward_hooks or layer._forward_pre_hooks
            for layer in (self.key, self.value)
        )

    def _carried(self, query: Tensor, states: Tensor, bias: Tensor | None) -> Tensor:
        """What one token a row, whose queries are (B, heads, 1, d), finds in states (B, N, D): (B, heads, 1, d).

        Keys and values are not made, which would take 4 N D^2 operations: q . (K x + b) is (K^T q) . x + q . b, and the
        mean of V x + b, by weights that add up to 1, is V times the mean of x, + b.
        """
        keys, values = (layer.weight.unflatten(0, (self.heads, -1)) for layer in (self.key, self.value))
        # Its type says Parameter, which it is not without bias.
        biases = [cast("Tensor | None", layer.bias) for layer in (self.key, self.value)]
        of_query, of_mean = (None if bias is None else bias.view(self.heads, 1, -1) for bias in biases)
        scores = torch.einsum("bhid,hde->bhie", query, keys).flatten(1, 2) @ states.transpose(1, 2)
        scores = scores.unflatten(1, (self.heads, 1)).to(torch.promote_types(scores.dtype, torch.float32))
        if of_query is not None:
            scores = scores + (query * of_query).sum(dim=-1, keepdim=True)
        scores = scores / math.sqrt(query.shape[-1])
        weights = (scores if bias is None else scores + bias).softmax(dim=-1).to(states.dtype)
        means = (weights.flatten(1, 2) @ states).unflatten(1, (self.heads, 1))
        context = torch.einsum("bhie,hde->bhid", means, values)
        return context if of_mean is None else context + of_mean
