"""From vectors to codes and back: nearest vectors, residuals of them, and rounded channels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Quantised:
    """``vectors`` (n, D), with the gradient of what went in; ``codes`` (n,) int64; ``loss`` () of the quantiser."""

    vectors: Tensor
    codes: Tensor
    loss: Tensor


class Nearest(nn.Module):
    """The nearest of V vectors. In training they follow what is given to them, as moving averages.

    van den Oord et al. 2017, equations 6 to 8 (appendix A.1). A vector that has nothing to follow for long starts again
    at one of the batch's, as otherwise most would never be used.
    """

    def __init__(self, *, size: int, width: int, decay: float, commitment: float) -> None:
        super().__init__()
        self.decay, self.commitment = decay, commitment
        self.vectors = nn.Parameter(torch.randn(size, width), requires_grad=False)
        self.register_buffer("count", torch.ones(size), persistent=False)
        self.register_buffer("total", self.vectors.detach().clone(), persistent=False)

    count: Tensor
    total: Tensor

    def assign(self, given: Tensor) -> Tensor:
        """Codes (n,) of vectors (n, D)."""
        return (given @ self.vectors.T - self.vectors.square().sum(1) / 2).argmax(dim=1)

    def read(self, codes: Tensor) -> Tensor:
        """Vectors (n, D) of codes (n,)."""
        return self.vectors[codes]

    def forward(self, given: Tensor, generator: torch.Generator) -> Quantised:
        """A step of training on vectors (n, D)."""
        codes = self.assign(given.detach())
        vectors = self.read(codes)
        loss = self.commitment * F.mse_loss(given, vectors)
        self._follow(given.detach(), codes, generator)
        return Quantised(given + (vectors - given).detach(), codes, loss)

    def _follow(self, given: Tensor, codes: Tensor, generator: torch.Generator) -> None:
        used = torch.zeros_like(self.count).index_add_(0, codes, torch.ones(len(codes)))
        self.count.mul_(self.decay).add_(used, alpha=1 - self.decay)
        self.total.mul_(self.decay).add_(torch.zeros_like(self.total).index_add_(0, codes, given), alpha=1 - self.decay)
        dead = self.count < DEAD * self.count.mean()
        drawn = given[torch.randint(len(given), (len(self.count),), generator=generator)]
        self.count[dead] = self.count.mean()
        self.total[dead] = drawn[dead] * self.count.mean()
        self.vectors.data.copy_(self.total / self.count[:, None])


DEAD = 0.03
"""A vector that is chosen less often than this share of the mean starts again."""


class Residual(nn.Module):
    """Codebooks one after the other, each for what is left over; a code's digits are theirs, the first the lowest."""

    def __init__(self, *, stages: int, size: int, width: int, decay: float, commitment: float) -> None:
        super().__init__()
        self.size = size
        self.stages = nn.ModuleList(
            Nearest(size=size, width=width, decay=decay, commitment=commitment) for _ in range(stages)
        )

    def assign(self, given: Tensor) -> Tensor:
        """Codes (n,) of vectors (n, D)."""
        codes = torch.zeros(len(given), dtype=torch.long, device=given.device)
        for place, stage in enumerate(self._stages()):
            digit = stage.assign(given)
            given = given - stage.read(digit)
            codes = codes + digit * self.size**place
        return codes

    def read(self, codes: Tensor) -> Tensor:
        """Vectors (n, D) of codes (n,)."""
        stages = self._stages()
        vectors = stages[0].read(codes % self.size)
        for place, stage in enumerate(stages[1:], start=1):
            vectors = vectors + stage.read(codes // self.size**place % self.size)
        return vectors

    def forward(self, given: Tensor, generator: torch.Generator) -> Quantised:
        """A step of training on vectors (n, D)."""
        left, vectors = given, torch.zeros_like(given)
        codes = torch.zeros(len(given), dtype=torch.long)
        losses: list[Tensor] = []
        for place, stage in enumerate(self._stages()):
            found = stage(left, generator)
            codes = codes + found.codes * self.size**place
            losses.append(found.loss)
            vectors = vectors + found.vectors.detach()
            left = left - found.vectors.detach()
        return Quantised(given + (vectors - given).detach(), codes, torch.stack(losses).mean())

    def _stages(self) -> list[Nearest]:
        return [stage for stage in self.stages if isinstance(stage, Nearest)]


class Rounded(nn.Module):
    """Each channel squeezed into a range and rounded to one of its levels (Mentzer et al. 2023, section 3.1).

    There is nothing to learn and nothing to follow. A code is the number whose digits are the levels, the first channel
    the lowest.
    """

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = levels

    def assign(self, given: Tensor) -> Tensor:
        """Codes (n,) of vectors (n, channels)."""
        levels, places = self._levels(given), self._places(given)
        digits = self._bound(given).round().long() + levels // 2
        return (digits * places).sum(dim=1)

    def read(self, codes: Tensor) -> Tensor:
        """Vectors (n, channels) of codes (n,), each channel from -1 to 1."""
        levels, places = self._levels(codes), self._places(codes)
        digits = codes[:, None] // places % levels
        return (digits - levels // 2) / (levels // 2)

    def forward(self, given: Tensor, generator: torch.Generator) -> Quantised:
        """A step of training on vectors (n, channels); the gradient passes the rounding."""
        bounded = self._bound(given)
        vectors = (bounded + (bounded.round() - bounded).detach()) / (self._levels(given) // 2)
        return Quantised(vectors, self.assign(given.detach()), given.new_zeros(()))

    def _bound(self, given: Tensor) -> Tensor:
        """Channels squeezed by tanh, so that rounding gives exactly as many whole numbers as there are levels."""
        levels = self._levels(given)
        half = (levels - 1) * (1 + MARGIN) / 2
        offset = torch.where(levels % 2 == 1, 0.0, 0.5)
        shift = (offset / half).atanh()
        return (given + shift).tanh() * half - offset

    def _levels(self, like: Tensor) -> Tensor:
        return torch.tensor(self.levels, device=like.device)

    def _places(self, like: Tensor) -> Tensor:
        return torch.tensor([1, *self.levels[:-1]], device=like.device).cumprod(0)


MARGIN = 1e-3
"""How much wider than its levels a channel is, so that the outermost can be reached."""
