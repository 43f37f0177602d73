"""MAE's encoder: hidden patches are left out of it, and come back through a small decoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flava_parts.encoders.vision import VisionTransformer
from flava_parts.facts import Size
from flava_parts.layers.attention import keep_bias
from flava_parts.layers.initialize import initialize
from flava_parts.layers.output import EncoderOutput
from flava_parts.layers.transformer import Block

from .tokens import take


class MAEViT(VisionTransformer):
    """A vision transformer whose blocks see the visible patches only (He et al. 2022, section 3).

    Where nothing is hidden it is the dense encoder. Where something is, the blocks run over the summary and the visible
    patches; a narrower decoder gets them with a mask token at each hidden place, and its states become those of
    the hidden patches. Those of visible patches stay the encoder's, as MAE reads its decoder at hidden patches alone.
    """

    def __init__(
        self,
        *,
        image_size: Size = 224,
        patch_size: Size = 16,
        channels: int = 3,
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
        decoder_width: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
    ) -> None:
        super().__init__(
            image_size=image_size,
            patch_size=patch_size,
            channels=channels,
            width=width,
            depth=depth,
            heads=heads,
            mlp_width=mlp_width,
            activation=activation,
            dropout=dropout,
            attention_dropout=attention_dropout,
            qkv_bias=qkv_bias,
            norm_eps=norm_eps,
            init_std=init_std,
            mask_token=False,
            pooler=pooler,
        )
        self.decoder = Decoder(
            tokens=self.prefix + self.grid.size,
            encoder_width=width,
            width=decoder_width,
            depth=decoder_depth,
            heads=decoder_heads,
            activation=activation,
            dropout=dropout,
            attention_dropout=attention_dropout,
            qkv_bias=qkv_bias,
            norm_eps=norm_eps,
            init_std=init_std,
        )

    def forward(
        self, pixels: Tensor, masked: Tensor | None = None, keep: Tensor | None = None, **output: Any
    ) -> EncoderOutput:
        """Pixels (B, C, H, W) to the states of summary and patches (B, 1 + P, D).

        ``masked`` (B, P) or (B, rows, columns) is true where a patch is hidden: left out, not replaced. ``keep`` (B, P)
        and the other arguments are those of `VisionTransformer`, for a pass without hidden patches; with them there
        are neither attention weights nor states between blocks. Raises ValueError for pixels or masks of the wrong
        shape, and for such a request.
        """
        if masked is None:
            return super().forward(pixels, keep=keep, **output)
        if refused := sorted(name for name, value in output.items() if value is not None and value is not False):
            raise ValueError(f"a pass that skips patches has no {' and no '.join(refused)}")
        if self._grid_of(pixels) != self.grid:
            raise ValueError(f"a pass that skips patches reads a grid of {self.grid}, the encoder's own")
        patches = self.patch_embedding(pixels)
        hidden = self._per_patch(masked, patches, "masked").bool()
        attended = torch.ones_like(hidden) if keep is None else self._per_patch(keep, patches, "keep").bool()
        states = torch.cat([self.cls_token.expand(patches.shape[0], -1, -1), patches], dim=1) + self.position_embedding
        hidden, attended = (
            F.pad(mask, (self.prefix, 0), value=value) for mask, value in ((hidden, False), (attended, True))
        )
        order, back, length = visible_first(hidden)
        short, real = take(states, order[:, :length]), ~take(hidden, order[:, :length])
        real = real & take(attended, order[:, :length])
        encoded = self.run(self.dropout(short), keep_bias(real, short.dtype)).pre_norm
        encoded = take(F.pad(encoded, (0, 0, 0, hidden.shape[1] - length)), back)
        decoded = self.decoder(encoded, hidden, attended)
        states = torch.where(hidden[..., None], decoded, encoded)
        normed = self.norm(states)
        pooled = self.pooler(normed) if self.pooler is not None else None
        return EncoderOutput(pre_norm=states, last_hidden_state=normed, pooler_output=pooled)


class Decoder(nn.Module):
    """Encoded tokens, and a mask token at each hidden place, to states of all places (He et al. 2022, section 3)."""

    def __init__(
        self,
        *,
        tokens: int,
        encoder_width: int,
        width: int,
        depth: int,
        heads: int,
        activation: str,
        dropout: float,
        attention_dropout: float,
        qkv_bias: bool,
        norm_eps: float,
        init_std: float,
    ) -> None:
        super().__init__()
        self.input = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.position_embedding = nn.Parameter(torch.empty(1, tokens, width))
        self.blocks = nn.ModuleList(
            Block(
                width=width,
                heads=heads,
                mlp_width=4 * width,
                activation=activation,
                dropout=dropout,
                attention_dropout=attention_dropout,
                qkv_bias=qkv_bias,
                norm_eps=norm_eps,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.output = nn.Linear(width, encoder_width)
        initialize(self, init_std)

    def forward(self, encoded: Tensor, hidden: Tensor, attended: Tensor) -> Tensor:
        """Encoded (B, N, D), ``hidden`` and ``attended`` (B, N) bool, to states (B, N, D)."""
        states = torch.where(hidden[..., None], self.mask_token, self.input(encoded)) + self.position_embedding
        bias = keep_bias(attended, states.dtype)
        for block in self.blocks:
            states, _ = block(states, bias)
        return self.output(self.norm(states))


def visible_first(hidden: Tensor) -> tuple[Tensor, Tensor, int]:
    """An order of tokens (B, N) with the visible ones in front, its inverse (B, N), and the most that are visible.

    Where values are out of reach, in a traced graph and on the meta device, all N count as visible: the hidden ones
    are then attended to by nobody, which gives the same states, without the saving.
    """
    order = hidden.int().argsort(dim=1, stable=True)
    if hidden.is_meta or torch.compiler.is_compiling():
        return order, order.argsort(dim=1), hidden.shape[1]
    return order, order.argsort(dim=1), int((~hidden).sum(dim=1).max())
