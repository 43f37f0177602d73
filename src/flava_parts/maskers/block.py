"""The block masker: hides rectangles of patches, as BEiT does (Bao et al. 2021, algorithm 1; FLAVA section 3.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from ..facts import Grid

ATTEMPTS = 10
"""Rectangles tried in a row before an image is left as it is (as in the published implementations)."""

AT_ONCE = 5
"""Attempts drawn at once, a divisor of `ATTEMPTS`. Most succeed early, so drawing all ten costs more than it saves."""


class BlockMasker:
    """``masker(batch, generator)`` -> (B, P) bool on the CPU, true where a patch is hidden.

    A block is a rectangle at a random place. Its area is uniform between `min_group` and what is left to hide, at most
    `max_group`; its aspect, height / width, log-uniform between `min_aspect` and `max_aspect` (1 / `min_aspect` if not
    given). It is smaller than the grid both ways, and may overlap earlier blocks as long as it hides something new, and
    no more than is left. Blocks are added until `total` patches are hidden or ten rectangles in a row do not fit, so
    that often a few fewer are hidden: 74.5 on average for 75 of 14x14. With `exact` the blocks then grow at their edges
    until `total` are hidden.

    Raises ValueError if `total` is more than the grid has.
    """

    def __init__(
        self,
        *,
        grid: Grid,
        total: int = 75,
        min_group: int = 16,
        max_group: int | None = None,
        min_aspect: float = 0.3,
        max_aspect: float | None = None,
        exact: bool = False,
    ) -> None:
        if total > grid.size:
            raise ValueError(f"total: {total} patches to hide, but a grid of {grid} has {grid.size}")
        self.grid = grid
        self.total = total
        self.min_group = min_group
        self.max_group = total if max_group is None else max_group
        self.min_aspect = min_aspect
        self.max_aspect = 1 / min_aspect if max_aspect is None else max_aspect
        self.exact = exact
        self._row_spans = _spans(grid.rows)
        self._column_spans = _spans(grid.columns)

    def __call__(self, batch: int, generator: torch.Generator) -> Tensor:
        """Draw ``batch`` masks (B, P) from a CPU ``generator``."""
        free = self._blocks(batch, generator)
        if self.exact:
            self._grow(free, generator)
        return free.flatten(1) == 0

    def _blocks(self, batch: int, generator: torch.Generator) -> Tensor:
        """The free patches (B, rows, columns), 1 or 0, once no image takes another block.

        All images advance in lockstep. Attempts that fail change nothing, so several are drawn at once and the first
        that fits is taken: the distribution is that of trying one by one. Floats, so that products count patches.
        """
        rows, columns = self.grid.rows, self.grid.columns
        result = torch.empty(batch, rows, columns, device="cpu")
        image = torch.arange(batch, device="cpu")  # the images still at work: what follows has one row for each of them
        free = torch.ones_like(result)
        left = torch.full((batch,), float(self.total), device="cpu")
        failed = torch.zeros(batch, dtype=torch.int64, device="cpu")
        while len(image):
            tall, wide, fits = self._rectangles(left, generator)
            fresh = torch.bmm(tall, free).mul_(wide).sum(-1)  # (images, attempts): patches that each would hide
            fits &= (fresh > 0) & (fresh <= left.clamp(max=self.max_group)[:, None])
            found, first = fits.max(dim=1)

            taken = torch.arange(len(image), device="cpu"), first
            block = (tall[taken] * found[:, None])[:, :, None] * wide[taken][:, None, :]
            free.addcmul_(free, block, value=-1)
            left -= fresh[taken] * found
            failed = (failed + AT_ONCE) * ~found

            goes_on = (left > 0) & (failed < ATTEMPTS)
            if not goes_on.all():
                result[image] = free
                image, free, left, failed = image[goes_on], free[goes_on], left[goes_on], failed[goes_on]
        return result

    def _rectangles(self, left: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw rectangles for images with ``left`` (N,) patches to hide.

        Returns the rows (N, attempts, rows) and columns (N, attempts, columns) that each covers, 1 or 0, and whether
        it is smaller than the grid (N, attempts).
        """
        rows, columns = self.grid.rows, self.grid.columns
        area, aspect, down, right = torch.rand(4, len(left), AT_ONCE, generator=generator, device="cpu")
        most = left.clamp(max=self.max_group)[:, None]
        side = (self.min_group + (most - self.min_group) * area).sqrt()
        low, high = math.log(self.min_aspect), math.log(self.max_aspect)
        slant = ((low + (high - low) * aspect) / 2).exp()
        height, width = (side * slant).round(), (side / slant).round()
        smaller = (height < rows) & (width < columns)
        height, width = height.clamp(max=rows - 1), width.clamp(max=columns - 1)
        top, start = (down * (rows + 1 - height)).floor(), (right * (columns + 1 - width)).floor()
        tall = self._row_spans[(height * (rows + 1) + top).long()]
        wide = self._column_spans[(width * (columns + 1) + start).long()]
        return tall, wide, smaller

    def _grow(self, free: Tensor, generator: torch.Generator) -> None:
        """Hide more of ``free`` (B, rows, columns), in place, until each image hides `total`.

        Free patches with the most hidden neighbours go first, so that blocks stay blocks; an image without any block
        gets a first patch anywhere.
        """
        while True:
            left = free.sum((1, 2)) - (self.grid.size - self.total)
            (image,) = torch.nonzero(left > 0, as_tuple=True)
            if not len(image):
                return
            open_ = free[image].flatten(1)
            near = functional.avg_pool2d(1 - free[image], 3, stride=1, padding=1).flatten(1)  # in ninths
            at_edge = ((near * open_) > 0).sum(1)
            take = torch.minimum(left[image], at_edge.clamp(min=1)).long()[:, None]
            noise = torch.rand(near.shape, generator=generator, device="cpu") / 10  # under a ninth: breaks ties
            best = torch.where(open_ > 0, near + noise, -1).topk(int(take.max()), dim=1).indices
            kept = open_.gather(1, best) * (torch.arange(best.shape[1], device="cpu") >= take)
            free[image] = open_.scatter(1, best, kept).view(-1, self.grid.rows, self.grid.columns)


def _spans(size: int) -> Tensor:
    """(size * (size + 1), size) 1 or 0: the cells that a span covers, row ``length * (size + 1) + start``."""
    length = torch.arange(size, device="cpu")[:, None, None]
    start = torch.arange(size + 1, device="cpu")[:, None]
    cell = torch.arange(size, device="cpu")
    return ((cell >= start) & (cell < start + length)).float().flatten(0, 1)
