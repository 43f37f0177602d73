"""Block masks are drawn from the distribution of transformers' generator."""

import math
import random

import pytest
import torch
from torch import Tensor
from transformers.models.flava.image_processing_flava import FlavaMaskingGenerator

from flava_parts.facts import Grid
from flava_parts.maskers import block
from flava_parts.maskers.block import BlockMasker

Z = 4.0
"""How many standard deviations count as a difference; the seeds are fixed, so that this is no lottery."""


def theirs(count: int, grid: Grid, **choices: float) -> Tensor:
    """(count, rows, columns) bool masks of transformers."""
    random.seed(0)
    generator = FlavaMaskingGenerator(input_size=(grid.rows, grid.columns), **choices)
    return torch.stack([generator() for _ in range(count)]).bool()


def ours(count: int, grid: Grid, **choices: float) -> Tensor:
    masks = BlockMasker(grid=grid, **choices)(count, torch.Generator().manual_seed(0))
    return masks.view(count, grid.rows, grid.columns)


def border(masks: Tensor) -> Tensor:
    """(B,) how many neighbouring pairs of patches are one hidden, one free."""
    return (masks[:, 1:] ^ masks[:, :-1]).sum((1, 2)) + (masks[:, :, 1:] ^ masks[:, :, :-1]).sum((1, 2))


def chi_square(one: Tensor, two: Tensor) -> float:
    """How many standard deviations the histograms of two samples of integers differ by, rare values taken together."""
    size = int(max(one.max(), two.max())) + 1
    first, second = one.bincount(minlength=size).double(), two.bincount(minlength=size).double()
    common = first + second >= 20
    first = torch.cat([first[common], first[~common].sum()[None]])
    second = torch.cat([second[common], second[~common].sum()[None]])
    both = first + second
    ratio = math.sqrt(len(two) / len(one))
    statistic = float(((first * ratio - second / ratio) ** 2 / both.clamp(min=1)).sum())
    freedom = int((both > 0).sum()) - 1
    return ((statistic / freedom) ** (1 / 3) - 1 + 2 / (9 * freedom)) / math.sqrt(2 / (9 * freedom))  # Wilson, Hilferty


def kolmogorov_smirnov(one: Tensor, two: Tensor) -> float:
    """The largest distance of two samples' distributions, as a multiple of what one in a thousand would exceed."""
    size = int(max(one.max(), two.max())) + 1
    first = one.bincount(minlength=size).cumsum(0) / len(one)
    second = two.bincount(minlength=size).cumsum(0) / len(two)
    critical = math.sqrt(-math.log(0.001 / 2) / 2) * math.sqrt((len(one) + len(two)) / (len(one) * len(two)))
    return float((first - second).abs().max()) / critical


def cells(one: Tensor, two: Tensor) -> float:
    """The largest difference of a patch's frequencies in two samples, in standard deviations."""
    first, second = one.double().mean(0), two.double().mean(0)
    middle = (first + second) / 2
    return float(((first - second).abs() / (middle * (1 - middle) * (1 / len(one) + 1 / len(two))).sqrt()).max())


@pytest.fixture(scope="module")
def published() -> Tensor:
    return theirs(4000, Grid(14, 14))


def test_trap_42_counts_borders_and_places_are_distributed_as_published(published: Tensor) -> None:
    """Counts of patches, lengths of borders, frequencies of each patch: no difference in thousands of masks."""
    masks = ours(8000, Grid(14, 14))

    assert chi_square(published.sum((1, 2)), masks.sum((1, 2))) < Z
    assert kolmogorov_smirnov(border(published), border(masks)) < 1
    assert cells(published, masks) < Z + 0.5  # the largest of 196


def test_trap_42_the_test_tells_another_algorithm_apart(published: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of another size or aspect, and fewer attempts, are found out by the same statistics."""
    smaller = ours(8000, Grid(14, 14), min_group=13)
    squarer = ours(8000, Grid(14, 14), min_aspect=0.4)
    monkeypatch.setattr(block, "ATTEMPTS", 5)
    hasty = ours(8000, Grid(14, 14))

    assert kolmogorov_smirnov(border(published), border(smaller)) > 1
    assert kolmogorov_smirnov(border(published), border(squarer)) > 1
    assert chi_square(published.sum((1, 2)), hasty.sum((1, 2))) > Z


def test_rectangular_grids_and_other_choices_are_distributed_as_published() -> None:
    """The same holds for a grid that is not square, with all choices away from their defaults."""
    grid = Grid(6, 11)
    peer = theirs(
        3000,
        grid,
        total_mask_patches=30,
        mask_group_min_patches=3,
        mask_group_max_patches=9,
        mask_group_min_aspect_ratio=0.5,
        mask_group_max_aspect_ratio=3.0,
    )
    masks = ours(6000, grid, total=30, min_group=3, max_group=9, min_aspect=0.5, max_aspect=3.0)

    assert chi_square(peer.sum((1, 2)), masks.sum((1, 2))) < Z
    assert kolmogorov_smirnov(border(peer), border(masks)) < 1
    assert cells(peer, masks) < Z + 0.5


def test_published_counts() -> None:
    """75 patches: 74.5 on average, two thirds of the masks complete, hardly ever fewer than 64; of 180: about 176."""
    counts = ours(8000, Grid(14, 14)).sum((1, 2)).float()

    assert 74.5 == pytest.approx(counts.mean().item(), abs=0.1)
    assert 0.67 == pytest.approx((counts == 75).float().mean().item(), abs=0.03)
    assert counts.min() >= 60
    assert 176 == pytest.approx(ours(2000, Grid(14, 14), total=180).sum((1, 2)).float().mean().item(), abs=0.5)
