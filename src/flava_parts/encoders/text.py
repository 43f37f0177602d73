"""The text encoder: BERT's embeddings, then a pre-norm transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers.attention import RelativePositions, keep_bias
from ..layers.initialize import Blank, initialize
from ..layers.output import EncoderOutput
from ..layers.transformer import Transformer


class TextTransformer(Transformer):
    """A text transformer (Devlin et al. 2019 for the embeddings; FLAVA section 3.1)."""

    def __init__(
        self,
        *,
        vocab_size: int = 30522,
        length: int = 512,
        token_types: int = 2,
        position_embedding: str = "absolute",
        pad_token_id: int = 0,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_width: int | None = None,
        activation: str = "gelu",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        qkv_bias: bool = True,
        norm_eps: float = 1e-12,
        init_std: float = 0.02,
        pooler: bool = False,
    ) -> None:
        absolute = position_embedding == "absolute"
        with_keys = position_embedding == "relative_key_query"
        with Blank():
            super().__init__(
                width=width,
                depth=depth,
                heads=heads,
                mlp_width=mlp_width,
                activation=activation,
                dropout=dropout,
                attention_dropout=attention_dropout,
                qkv_bias=qkv_bias,
                norm_eps=norm_eps,
                pooler=pooler,
                relative=None
                if absolute
                else [
                    RelativePositions(length=length, head_width=width // heads, with_keys=with_keys)
                    for _ in range(depth)
                ],
            )
        self.length = length
        with Blank():
            self.word_embedding = nn.Embedding(vocab_size, width, padding_idx=pad_token_id)
        self.position_embedding = nn.Embedding(length, width) if absolute else None
        self.token_type_embedding = nn.Embedding(token_types, width)
        self.embedding_norm = nn.LayerNorm(width, eps=norm_eps)
        self.dropout = nn.Dropout(dropout)
        initialize(self, init_std)

    def forward(
        self,
        ids: Tensor,
        keep: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        read: Tensor | None = None,
        clean_ids: Tensor | None = None,
        clean_read: Tensor | None = None,
        present: Tensor | None = None,
        head_mask: Tensor | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> EncoderOutput:
        """Ids (B, L) to states (B, L, D).

        ``keep`` (B, L) is false or 0 at padding; without it every token is real. (B, L, L) says of each token which
        others it attends to, for several texts in one row. ``token_type_ids`` (B, L) are all 0
        and ``position_ids`` (B or 1, L) count from 0 unless given. ``head_mask`` (heads,) or
        (depth, heads) multiplies the attention weights of each head; ``read`` (R,) or (B, R) are the tokens whose
        states are wanted, all if not given. ``clean_ids`` (B, L) are the same texts unmasked: the output then has their
        states, at ``clean_read``, as ``clean``; as a call of their own would give, without dropout, and sooner.
        ``present`` (B, L) is true at tokens whose states somebody reads or attends to; those of the others may be
        anything. Raises ValueError if the text is too long, or the two are not of one shape.
        """
        if ids.dim() != 2 or ids.shape[1] > self.length:
            raise ValueError(f"ids should be (B, L) with L at most {self.length}, not {tuple(ids.shape)}")
        if clean_ids is not None:
            if clean_ids.shape != ids.shape:
                raise ValueError(f"clean_ids should be {tuple(ids.shape)}, as ids are, not {tuple(clean_ids.shape)}")
            ids = torch.cat([clean_ids, ids])
            keep, token_type_ids, position_ids, present = (
                around if around is None or len(around) == 1 else torch.cat([around, around])
                for around in (keep, token_type_ids, position_ids, present)
            )
        if position_ids is None:
            position_ids = torch.arange(ids.shape[1], device=ids.device)[None]
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(ids)
        states = self.word_embedding(ids) + self.token_type_embedding(token_type_ids)
        if self.position_embedding is not None:
            states = states + self.position_embedding(position_ids)
        states = self.dropout(self.embedding_norm(states))
        return self.run(
            states,
            keep_bias(keep, states.dtype),
            position_ids,
            read=read,
            with_clean=clean_ids is not None,
            clean_read=clean_read,
            present=present,
            head_mask=head_mask,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
