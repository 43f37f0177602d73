"""The dVAE codebook: its groups, its probabilities, its random weights."""

import pytest
import torch
from torch import Tensor

from flava_parts.codebooks.dvae import DVAECodebook
from flava_parts.errors import InputError


def images(batch: int, height: int = 8, width: int = 8, channels: int = 3) -> Tensor:
    return torch.rand(batch, channels, height, width, generator=torch.Generator().manual_seed(batch))


@pytest.mark.parametrize("groups", [1, 2, 3, 4])
@pytest.mark.parametrize("blocks", [1, 3])
def test_trap_37_groups_and_blocks_change_the_architecture(groups: int, blocks: int) -> None:
    """`groups` groups of `blocks` blocks: channels double and the image halves from group to group."""
    codebook = DVAECodebook(image_size=(8, 16), groups=groups, blocks=blocks, width=4, vocab_size=11, weights="random")
    names = {name.split(".path.")[0] for name in codebook.state_dict() if ".path." in name}

    assert {f"groups.{group}.{block}" for group in range(groups) for block in range(blocks)} == names
    assert (11, 4 * 2 ** (groups - 1), 1, 1) == tuple(codebook.output.weight.shape)
    rows, columns = 8 // 2 ** (groups - 1), 16 // 2 ** (groups - 1)
    assert (2, rows * columns) == tuple(codebook(images(2, 8, 16)).shape)
    assert (2, 11, rows, columns) == tuple(codebook.probabilities(images(2, 8, 16)).shape)


def test_probabilities_add_up_and_peak_at_the_codes() -> None:
    """Over the vocabulary they add up to 1, and the likeliest is the code."""
    codebook = DVAECodebook(image_size=8, groups=2, width=8, vocab_size=32, weights="random")
    chances = codebook.probabilities(images(4))

    assert torch.allclose(torch.ones(4, 4, 4), chances.sum(1))
    assert codebook(images(4)).tolist() == chances.argmax(1).flatten(1).tolist()
    assert torch.float32 == chances.dtype
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(chances, codebook.probabilities(images(4)))


def test_only_a_codebook_that_is_not_frozen_learns_and_only_through_probabilities() -> None:
    """`freeze=False`: parameters, and gradient through `probabilities`; codes never have one; frozen has neither."""
    free = DVAECodebook(image_size=8, groups=2, width=8, vocab_size=32, freeze=False, weights="random")
    frozen = DVAECodebook(image_size=8, groups=2, width=8, vocab_size=32, weights="random")

    free.probabilities(images(2))[:, 0].sum().backward()
    assert {True} == {value.grad is not None and bool(value.grad.isfinite().all()) for value in free.parameters()}
    assert (False, False) == (free(images(2)).requires_grad, frozen.probabilities(images(2)).requires_grad)
    assert set(free.state_dict()) == set(frozen.state_dict())
    assert [] == list(frozen.parameters())


def test_trap_31_random_weights_are_said_aloud_and_follow_the_seed() -> None:
    """`weights="random"` draws N(0, 1 / inputs of a unit), biases 0, from torch's seed; None holds zeros instead."""
    drawn: list[DVAECodebook] = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(DVAECodebook(image_size=8, groups=2, width=64, vocab_size=512, weights="random"))
    weight = drawn[0].groups[1][0].path[0].weight

    assert 1 / (64 * 9) ** 0.5 == pytest.approx(weight.std().item(), rel=0.02)
    assert {0.0} == set(drawn[0].output.bias.tolist())
    assert torch.equal(weight, drawn[1].groups[1][0].path[0].weight)
    assert not torch.equal(weight, drawn[2].groups[1][0].path[0].weight)
    silent = DVAECodebook(image_size=8, groups=2, width=64, vocab_size=512)
    assert (True, False) == (drawn[0].ready, silent.ready)
    assert not any(value.any() for value in silent.state_dict().values())
    with pytest.raises(InputError, match="weights: random"):
        silent.probabilities(images(1))


def test_other_channels_than_three() -> None:
    """Grey, or more than three, channels."""
    for channels in (1, 5):
        codebook = DVAECodebook(image_size=8, channels=channels, groups=2, width=8, vocab_size=9, weights="random")
        assert (2, 16) == tuple(codebook(images(2, channels=channels)).shape)


def test_codes_of_some_squares_are_those_of_all() -> None:
    """With `read`, the codes of the squares asked for, in their order, twice if twice; with the same checks."""
    codebook = DVAECodebook(image_size=16, groups=2, width=8, vocab_size=32, weights="random")
    read = torch.randint(64, (3, 20), generator=torch.Generator().manual_seed(0))

    assert torch.equal(codebook(images(3, 16, 16)).gather(1, read), codebook(images(3, 16, 16), read=read))
    with pytest.raises(InputError, match="the codebook needs pixels of shape"):
        codebook(images(3), read=read)
