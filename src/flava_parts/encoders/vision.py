"""The image encoder: a pre-norm vision transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..facts import Grid, Size, pair
from ..layers.attention import keep_bias
from ..layers.initialize import Blank, initialize
from ..layers.output import EncoderOutput
from ..layers.transformer import Transformer


class PatchEmbedding(nn.Module):
    """Pixels (B, C, H, W), cut into patches, to vectors (B, P, D): a convolution whose stride is its kernel."""

    def __init__(self, *, patch_size: tuple[int, int], channels: int, width: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Conv2d(channels, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, pixels: Tensor) -> Tensor:
        # One matrix product of all patches does what the convolution would, and faster.
        rows, columns = self.patch_size
        patches = pixels.unflatten(3, (-1, columns)).unflatten(2, (-1, rows))  # B, C, gh, rows, gw, columns
        patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        return F.linear(patches, self.projection.weight.flatten(1), self.projection.bias)


class VisionTransformer(Transformer):
    """A vision transformer with one summary token (Dosovitskiy et al. 2021; FLAVA section 3.1).

    An input of another size than ``image_size`` is read with its position embeddings interpolated.
    """

    prefix = 1

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
        mask_token: bool = True,
        pooler: bool = False,
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
        (height, width_pixels), self.patch_size = pair(image_size), pair(patch_size)
        self.grid = Grid(height // self.patch_size[0], width_pixels // self.patch_size[1])
        self.channels = channels
        with Blank():
            self.patch_embedding = PatchEmbedding(patch_size=self.patch_size, channels=channels, width=width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width)) if mask_token else None
        self.position_embedding = nn.Parameter(torch.zeros(1, self.prefix + self.grid.size, width))
        self.dropout = nn.Dropout(dropout)
        initialize(self, init_std)

    def forward(
        self,
        pixels: Tensor,
        masked: Tensor | None = None,
        keep: Tensor | None = None,
        *,
        read: Tensor | None = None,
        with_clean: bool = False,
        clean_read: Tensor | None = None,
        head_mask: Tensor | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> EncoderOutput:
        """Pixels (B, C, H, W) to the states of summary and patches (B, 1 + P, D).

        ``masked`` (B, P) or (B, rows, columns) is true where a patch is hidden behind the mask token; ``keep`` (B, P)
        is false or 0 where a patch is not to be attended to; ``head_mask`` (heads,) or (depth, heads) multiplies the
        attention weights of each head. ``read`` (R,) or (B, R) are the tokens whose states are wanted, all if not
        given. ``with_clean`` asks for the unmasked images' states too, at ``clean_read``, as ``clean`` of the output:
        as a call of their own would give, without dropout, and sooner. Raises ValueError for pixels of the wrong shape,
        and for a mask where the encoder was built without a mask token.
        """
        grid = self._grid_of(pixels)
        cut = clean = self.patch_embedding(pixels)
        if masked is not None:
            if self.mask_token is None:
                raise ValueError("patches are masked, but this encoder was built with mask_token=False")
            cut = torch.where(self._per_patch(masked, cut, "masked").bool()[..., None], self.mask_token, cut)
        if keep is not None:
            keep = self._per_patch(keep, cut, "keep").bool()
        if with_clean:
            cut = torch.cat([clean, cut])
            keep = keep if keep is None else torch.cat([keep, keep])
        states = torch.cat([self.cls_token.expand(cut.shape[0], -1, -1), cut], dim=1)
        states = self.dropout(states + self.positions(grid))
        bias = None
        if keep is not None:
            bias = keep_bias(F.pad(keep, (self.prefix, 0), value=True), states.dtype)
        return self.run(
            states,
            bias,
            read=read,
            with_clean=with_clean,
            clean_read=clean_read,
            head_mask=head_mask,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )

    def positions(self, grid: Grid) -> Tensor:
        """The position embeddings (1, 1 + P, D) of a grid, interpolated bicubically if it is not the encoder's own."""
        if grid == self.grid:
            return self.position_embedding
        summary, patches = self.position_embedding.split([self.prefix, self.grid.size], dim=1)
        picture = patches.unflatten(1, (self.grid.rows, self.grid.columns)).permute(0, 3, 1, 2)
        picture = F.interpolate(picture, size=(grid.rows, grid.columns), mode="bicubic", align_corners=False)
        return torch.cat([summary, picture.flatten(2).transpose(1, 2)], dim=1)

    def _grid_of(self, pixels: Tensor) -> Grid:
        rows, columns = self.patch_size
        if pixels.dim() != 4 or pixels.shape[1] != self.channels or pixels.shape[2] % rows or pixels.shape[3] % columns:
            raise ValueError(
                f"pixels should be (B, {self.channels}, H, W) with H and W multiples of {rows} and {columns}, "
                f"not {tuple(pixels.shape)}"
            )
        return Grid(pixels.shape[2] // rows, pixels.shape[3] // columns)

    @staticmethod
    def _per_patch(mask: Tensor, patches: Tensor, name: str) -> Tensor:
        flat = mask.flatten(1)
        if flat.shape != patches.shape[:2]:
            raise ValueError(
                f"{name} should have one entry a patch, {tuple(patches.shape[:2])}, not {tuple(mask.shape)}"
            )
        return flat
