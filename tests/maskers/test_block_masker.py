"""Block masks: their counts, their shape, their seeds."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flava_parts.facts import Grid
from flava_parts.maskers.block import BlockMasker
from flava_parts.maskers.specs import BlockMaskerSpec


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def border(masks: torch.Tensor, grid: Grid) -> torch.Tensor:
    """(B,) how many neighbours are one hidden, one free: few for blocks, many for scattered patches."""
    cells = masks.view(-1, grid.rows, grid.columns)
    return (cells[:, 1:] ^ cells[:, :-1]).sum((1, 2)) + (cells[:, :, 1:] ^ cells[:, :, :-1]).sum((1, 2))


@st.composite
def block_maskers(draw: st.DrawFn) -> BlockMasker:
    grid = Grid(draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    low = draw(st.integers(1, 12))
    return BlockMasker(
        grid=grid,
        total=draw(st.integers(1, grid.size)),
        min_group=low,
        max_group=draw(st.none() | st.integers(low, 20)),
        min_aspect=draw(st.floats(0.1, 1)),
        max_aspect=draw(st.none() | st.floats(1, 5)),
        exact=draw(st.booleans()),
    )


@settings(deadline=None, max_examples=60)
@given(masker=block_maskers(), batch=st.integers(0, 5), seed=st.integers(0, 2**32))
def test_no_more_than_the_total_is_hidden_and_exactly_it_on_request(masker: BlockMasker, batch: int, seed: int) -> None:
    """Masks are (B, P) bool on the CPU; their counts are at most `total`, and `total` when exact; seeds repeat them."""
    masks = masker(batch, seeded(seed))

    assert ((batch, masker.grid.size), torch.bool, "cpu") == (tuple(masks.shape), masks.dtype, masks.device.type)
    counts = masks.sum(1)
    assert [True] * batch == (counts <= masker.total).tolist()
    assert not masker.exact or [masker.total] * batch == counts.tolist()
    assert torch.equal(masks, masker(batch, seeded(seed)))


def test_no_two_masks_of_a_batch_or_of_two_seeds_are_alike() -> None:
    """Each image of a batch gets a mask of its own, and so does each seed."""
    masker = BlockMasker(grid=Grid(14, 14))
    masks = torch.cat([masker(128, seeded(0)), masker(128, seeded(1))])

    assert 256 == len(masks.unique(dim=0))


def test_rows_of_a_batch_are_drawn_from_one_distribution() -> None:
    """First and last rows of batches hide as many patches on average: early finishers do not move others."""
    masker = BlockMasker(grid=Grid(14, 14))
    counts = torch.stack([masker(8, seeded(seed)).sum(1) for seed in range(400)]).float()

    spread = counts.std() / 400**0.5
    assert [True] * 8 == ((counts.mean(0) - counts.mean()).abs() < 4 * spread).tolist()


def test_a_single_block_is_a_rectangle_between_its_bounds() -> None:
    """With blocks of 6 of 6 patches and a square aspect, the first block has the sides that round to it."""
    masker = BlockMasker(grid=Grid(9, 9), total=6, min_group=6, min_aspect=1.0)
    masks = masker(50, seeded(0)).view(50, 9, 9)

    sides = {(int(mask.any(1).sum()), int(mask.any(0).sum()), int(mask.sum())) for mask in masks}
    assert {(2, 2, 4)} < sides  # round(sqrt(6)) = 2, then a second block of the 2 that are left
    assert 6 == max(count for _, _, count in sides)


def test_trap_42_block_masks_follow_the_torch_generator_only() -> None:
    """The generator decides; neither Python's nor torch's global seed does, and neither is moved on."""
    masker = BlockMasker(grid=Grid(14, 14))
    random.seed(1)
    torch.manual_seed(1)
    python_state, torch_state = random.getstate(), torch.get_rng_state()
    first = masker(4, seeded(7))

    assert python_state == random.getstate()
    assert torch.equal(torch_state, torch.get_rng_state())
    random.seed(2)
    torch.manual_seed(2)
    assert torch.equal(first, masker(4, seeded(7)))
    assert not torch.equal(first, masker(4, seeded(8)))


@pytest.mark.parametrize(
    ("grid", "total"), [(Grid(14, 14), 75), (Grid(14, 14), 196), (Grid(1, 9), 4), (Grid(3, 11), 20)]
)
def test_trap_42_exact_hides_exactly_the_total(grid: Grid, total: int) -> None:
    """`exact` never stops short: not at the published default, not at a full grid, not where no block fits at all."""
    exact = BlockMasker(grid=grid, total=total, exact=True)(200, seeded(0)).sum(1)
    published = BlockMasker(grid=grid, total=total)(200, seeded(0)).sum(1)

    assert {total} == set(exact.tolist())
    assert published.min() < total  # without it, some do


def test_trap_42_more_than_the_grid_cannot_be_hidden() -> None:
    """A total above the grid is refused at construction, exact or not; the grid's own size is not."""
    for exact in (False, True):
        with pytest.raises(ValueError, match=r"^total: 13 patches to hide, but a grid of 3x4 has 12$"):
            BlockMasker(grid=Grid(3, 4), total=13, exact=exact)
    assert 12 == BlockMasker(grid=Grid(3, 4), total=12).total


def test_exact_masks_are_as_blocky_as_published_ones() -> None:
    """Filling up to the total lengthens the border of the blocks by little; scattered patches have one far longer."""
    grid = Grid(14, 14)
    published = border(BlockMasker(grid=grid)(1000, seeded(0)), grid).float().mean()
    exact = border(BlockMasker(grid=grid, exact=True)(1000, seeded(1)), grid).float().mean()
    scattered = border(torch.rand(1000, 196, generator=seeded(2)) < 75 / 196, grid).float().mean()

    assert abs(exact / published - 1) < 0.05
    assert scattered / published > 2


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 8),
    columns=st.integers(1, 14),
    total=st.sampled_from([1, 4, 10, 20]),
    low=st.sampled_from([1, 2, 4, 8, 16]),
    high=st.sampled_from([None, 16, 32]),
    aspect=st.sampled_from([0.3, 0.8]),
)
def test_whether_a_grid_has_room(
    rows: int, columns: int, total: int, low: int, high: int | None, aspect: float
) -> None:
    """What the spec says of a grid is what thousands of draws show: some patch is hidden now and then, or never any."""
    grid = Grid(rows, columns)
    spec = BlockMaskerSpec(total=min(total, grid.size), min_group=low, max_group=high, min_aspect=aspect)
    masks = spec.build(grid=grid)(3000, seeded(0))

    assert spec.hides_in(grid) == bool(masks.any())
