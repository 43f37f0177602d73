"""The multimodal encoder: a pre-norm transformer over the states of image and text."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..facts import ImageTokens, Layout, TextTokens
from ..layers.attention import keep_bias
from ..layers.initialize import Blank, initialize
from ..layers.output import EncoderOutput
from ..layers.transformer import Transformer


class FusionTransformer(Transformer):
    """FLAVA's fusion (section 3.1): each encoder's states, before its final norm, are projected and put in one row."""

    def __init__(
        self,
        *,
        image: ImageTokens,
        text: TextTokens,
        width: int = 768,
        depth: int = 6,
        heads: int = 12,
        mlp_width: int | None = None,
        activation: str = "gelu",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        qkv_bias: bool = True,
        norm_eps: float = 1e-12,
        init_std: float = 0.02,
        pooler: bool = False,
        cls_token: bool = True,
        mask_text_padding: bool = True,
    ) -> None:
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
            )
        self.prefix = image.prefix
        self.mask_text_padding = mask_text_padding
        self.image_projection = nn.Linear(image.width, width)
        self.text_projection = nn.Linear(text.width, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if cls_token else None
        initialize(self, init_std)

    def layout(self, *, patches: int, words: int) -> Layout:
        """Where things lie in a fused sequence of so many patches and words."""
        own = 0 if self.cls_token is None else 1
        return Layout.of(own=own, prefix=self.prefix, patches=patches, words=words, width=self.width)

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        image_keep: Tensor | None = None,
        text_keep: Tensor | None = None,
        *,
        read: Tensor | None = None,
        text_present: Tensor | None = None,
        head_mask: Tensor | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> EncoderOutput:
        """States of image (B, prefix + P, D) and text (B, L, D), both before their final norm, to (B, length, D).

        ``image_keep`` (B, P) and ``text_keep`` (B, L) are false or 0 at tokens that are not to be attended to; the
        text's is not looked at where ``mask_text_padding`` is false. ``head_mask`` (heads,) or (depth, heads)
        multiplies the attention weights of each head; ``read`` (R,) or (B, R) are the positions whose states are
        wanted, all if not given. ``text_present`` (B, L) is true at words whose states somebody reads or attends to;
        those of the others may be anything.
        """
        states = torch.cat([self.image_projection(image), self.text_projection(text)], dim=1)
        if self.cls_token is not None:
            states = torch.cat([self.cls_token.expand(states.shape[0], -1, -1), states], dim=1)
        # Under autocast the projections are narrower than the residual stream is to be.
        states = states.to(self.norm.weight.dtype)
        text_keep = text_keep if self.mask_text_padding else None
        layout = self.layout(patches=image.shape[1] - self.prefix, words=text.shape[1])
        bias = present = None
        if image_keep is not None or text_keep is not None:
            bias = keep_bias(_fused(states, layout, image_keep, text_keep), states.dtype)
        if text_present is not None:
            present = _fused(states, layout, None, text_present)
        return self.run(
            states,
            bias,
            read=read,
            present=present,
            head_mask=head_mask,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )


def _fused(states: Tensor, layout: Layout, patches: Tensor | None, words: Tensor | None) -> Tensor:
    """What is said of patches (B, P) and words (B, L), true unless given, for the fused states (B, N, D): (B, N)."""
    said = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
    parts = [said[:, : layout.patches.start]]
    parts.append(said[:, layout.patches] if patches is None else patches.flatten(1).bool())
    parts.append(said[:, layout.words] if words is None else words.bool())
    return torch.cat(parts, dim=1)
