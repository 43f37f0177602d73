"""Randomness by name: uniform, independent of what else is asked, different for different keys."""

import numpy as np
import torch

from flava_parts.data.keyed import keyed_generator, keyed_uniform, keyed_words, name_number


def test_a_key_gives_the_same_numbers_alone_and_among_others() -> None:
    """An entry's numbers do not depend on the other entries, nor on whether a number is given for each or for all."""
    epochs, indices = np.array([0, 0, 3]), np.array([5, 10**9, 5])
    together = keyed_uniform((7, "crop"), epochs, indices, count=5)

    for row, epoch, index in zip(together, epochs, indices, strict=True):
        assert np.array_equal(keyed_uniform((7, "crop"), epoch, np.array([index]), count=5)[0], row)
        assert np.array_equal(keyed_uniform((7, "crop"), int(epoch), int(index), count=3)[0], row[:3])


def test_no_two_keys_give_the_same_words() -> None:
    """100,000 words of 64 bits from neighbouring numbers and swapped ones: a collision has probability 3e-10."""
    left, right = (numbers.ravel() for numbers in np.meshgrid(np.arange(300), np.arange(300)))
    words = keyed_words((0, "a"), left, right)
    others = keyed_words((0, "b"), np.arange(10_000))

    assert len(np.unique(np.concatenate([words, others]))) == 100_000


def test_numbers_are_uniform_and_uncorrelated() -> None:
    """Mean and variance within five standard errors; no correlation between columns and between neighbours."""
    numbers = keyed_uniform((1, "u"), np.arange(40_000), count=2)
    error = 1 / np.sqrt(12 * numbers.size)

    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 5 * error
    assert abs(numbers.var() - 1 / 12) < 5 * error
    assert abs(np.corrcoef(numbers[:, 0], numbers[:, 1])[0, 1]) < 5 / np.sqrt(len(numbers))
    assert abs(np.corrcoef(numbers[1:, 0], numbers[:-1, 0])[0, 1]) < 5 / np.sqrt(len(numbers))


def test_generators_follow_their_key_and_leave_torch_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (keyed_generator(*key) for key in ((0, "a", 1), (0, "a", 1), (0, "a", 2)))
    drawn = [torch.rand(4, generator=generator) for generator in (first, again, other)]

    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(before, torch.get_rng_state())


def test_names_are_numbers() -> None:
    """They fit an int64, and differ."""
    numbers = {name_number(f"stream{i}") for i in range(1000)}

    assert len(numbers) == 1000
    assert 0 <= min(numbers) <= max(numbers) < 2**63
