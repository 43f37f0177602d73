"""Random masks: exactly the total, every patch equally likely."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flava_parts.facts import Grid
from flava_parts.maskers.random import RandomMasker


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=40)
@given(
    data=st.data(), rows=st.integers(1, 6), columns=st.integers(1, 6), batch=st.integers(0, 5), seed=st.integers(0, 99)
)
def test_exactly_the_total_is_hidden(data: st.DataObject, rows: int, columns: int, batch: int, seed: int) -> None:
    """Every total from none to all is hidden exactly, and the same seed hides the same."""
    grid = Grid(rows, columns)
    masker = RandomMasker(grid=grid, total=data.draw(st.integers(0, grid.size)))
    masks = masker(batch, seeded(seed))

    assert ((batch, grid.size), torch.bool) == (tuple(masks.shape), masks.dtype)
    assert [masker.total] * batch == masks.sum(1).tolist()
    assert torch.equal(masks, masker(batch, seeded(seed)))


def test_every_patch_is_hidden_equally_often() -> None:
    """75 of 196: each patch in 38 % of the masks; images and seeds differ."""
    masks = RandomMasker(grid=Grid(14, 14))(4000, seeded(0))
    share = 75 / 196
    score = (masks.float().mean(0) - share) / (share * (1 - share) / 4000) ** 0.5

    assert score.abs().max() < 4.5
    assert 4000 == len(masks.unique(dim=0))


def test_more_than_the_grid_cannot_be_hidden() -> None:
    """A total above the grid is refused at construction."""
    with pytest.raises(ValueError, match=r"^total: 5 patches to hide, but a grid of 2x2 has 4$"):
        RandomMasker(grid=Grid(2, 2), total=5)
