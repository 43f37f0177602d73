"""The dVAE codebook: the encoder of DALL-E's discrete VAE (Ramesh et al. 2021, appendix A.2; FLAVA section 3.2)."""

from __future__ import annotations

import math
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..facts import Size
from ..layers.attention import at
from .codebook import Codebook


class DVAECodebook(Codebook):
    """Codes of pixels (B, C, H, W) mapped to [0.1, 0.9]: the likeliest of V for each square of 2^(groups - 1) pixels.

    `groups` groups of `blocks` residual blocks; each group but the last halves the image, each but the first doubles
    the channels. With four groups this is the published encoder. `weights` is ``"random"``, or a file for
    `load_weights` to read later, or None when they come with a checkpoint.
    """

    remedy = (
        "the dVAE codebook has no trained weights; load a checkpoint that holds them, name a safetensors file as "
        "weights, or say weights: random to predict codes that mean nothing"
    )

    def __init__(
        self,
        *,
        image_size: Size = 112,
        channels: int = 3,
        groups: int = 4,
        blocks: int = 2,
        width: int = 256,
        vocab_size: int = 8192,
        freeze: bool = True,
        weights: str | None = None,
    ) -> None:
        super().__init__(image_size=image_size, channels=channels, weights=weights)
        self.freeze = freeze
        widths = [width * 2**group for group in range(groups)]
        gain = 1 / (groups * blocks) ** 2
        self.input = _Conv(channels, width, 7)
        self.groups = nn.ModuleList(
            nn.Sequential(*(_Block(before if block == 0 else after, after, gain) for block in range(blocks)))
            for before, after in zip([width, *widths], widths, strict=False)
        )
        self.output = _Conv(widths[-1], vocab_size, 1)
        if weights == "random":
            self._randomise()
        if freeze:
            self._keep_out_of_training()

    def forward(self, pixels: Tensor, *, read: Tensor | None = None) -> Tensor:
        """As `Codebook.forward`. With ``read`` (B, R), which squares' codes are wanted, those alone: (B, R)."""
        if read is None:
            return super().forward(pixels)
        with torch.no_grad():
            return self._exactly(lambda exact: self._codes_at(exact, read), pixels)

    def assign(self, pixels: Tensor) -> Tensor:
        return self._logits(pixels).argmax(dim=1).flatten(1)

    def probabilities(self, pixels: Tensor) -> Tensor:
        """How likely each code is: (B, V, rows, columns) float32, adding up to 1 over V; with gradient unless frozen.

        Raises InputError as `forward` does.
        """
        with torch.no_grad() if self.freeze else nullcontext():
            return self._exactly(lambda exact: self._logits(exact).softmax(dim=1), pixels)

    def _codes_at(self, pixels: Tensor, read: Tensor) -> Tensor:
        """The likeliest code of the squares ``read`` (B, R): the last layer, over all V, has no others to look at."""
        states = at(self._states(pixels).flatten(2).transpose(1, 2), read)
        return functional.linear(states, self.output.weight.flatten(1), self.output.bias).argmax(dim=-1)

    def _logits(self, pixels: Tensor) -> Tensor:
        """(B, V, rows, columns)."""
        return self.output(self._states(pixels))

    def _states(self, pixels: Tensor) -> Tensor:
        """What the last layer reads (B, D, rows, columns)."""
        # Convolutions are faster with the channels last: a seventh less time on a CPU.
        images = pixels.contiguous(memory_format=torch.channels_last)
        # There the first group, whose states are by far the largest, goes image by image, through memory that is warm.
        parts = images.split(1) if images.device.type == "cpu" else [images]
        states = torch.cat([self._group(0, self.input(part)) for part in parts])
        for index in range(1, len(self.groups)):
            states = self._group(index, states)
        return functional.relu(states)

    def _group(self, index: int, states: Tensor) -> Tensor:
        """What a group gives, as the next one reads it."""
        states = self.groups[index](states)
        return functional.max_pool2d(states, 2) if index + 1 < len(self.groups) else states

    def _randomise(self) -> None:
        """Draw the weights as OpenAI's encoder does: N(0, 1 / (inputs of a unit)), biases 0."""
        for layer in self.modules():
            if isinstance(layer, _Conv):
                nn.init.normal_(layer.weight, std=1 / math.sqrt(layer.weight[0].numel()))
        self.ready = True


class _Conv(nn.Conv2d):
    """A convolution that keeps the image's size, in float32, of zeros until its weights are known."""

    def __init__(self, before: int, after: int, size: int) -> None:
        super().__init__(before, after, size, padding=size // 2, dtype=torch.float32)

    def reset_parameters(self) -> None:
        for value in self.parameters():
            nn.init.zeros_(value)


class _Block(nn.Module):
    """A residual block (B, before, H, W) -> (B, after, H, W); ``gain`` scales its residual path."""

    def __init__(self, before: int, after: int, gain: float) -> None:
        super().__init__()
        inner = after // 4
        self.gain = gain
        self.skip = nn.Identity() if before == after else _Conv(before, after, 1)
        self.path = nn.ModuleList(
            [_Conv(before, inner, 3), _Conv(inner, inner, 3), _Conv(inner, inner, 3), _Conv(inner, after, 1)]
        )

    def forward(self, states: Tensor) -> Tensor:
        # In place wherever nobody reads what was there: large images are not laid out in fresh memory over and over.
        first, *others = self.path
        residual = first(functional.relu(states))
        for conv in others:
            residual = conv(residual.relu_())
        return residual.mul_(self.gain).add_(self.skip(states))
