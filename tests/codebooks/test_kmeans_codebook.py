"""The k-means codebook: what it tells apart, and its fit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from flava_parts.codebooks.kmeans import KMeansCodebook
from flava_parts.errors import InputError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def patchwork(patches: list[Tensor]) -> Tensor:
    """One image (1, 3, 4, 4n) of n patches (3, 4, 4) in a row."""
    return torch.cat(patches, dim=2)[None]


def flat(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([red, green, blue])[:, None, None].expand(3, 4, 4)


def edge(low: float, high: float) -> Tensor:
    """Dark left half, bright right half."""
    return torch.tensor([low, low, high, high]).expand(3, 4, 4)


def test_flat_patches_of_different_colours_are_told_apart() -> None:
    """Five flat colours, greys among them, get five codes, and the same colour the same code."""
    colours = [flat(0, 0, 0), flat(0.5, 0.5, 0.5), flat(1, 1, 1), flat(1, 0, 0), flat(0, 0, 1)]
    image = patchwork([*colours, *colours])
    codebook = KMeansCodebook(image_size=(4, 40), patch_size=4, vocab_size=5).fit(image, seeded(0))
    codes = codebook(image)[0].tolist()

    assert (5, codes[:5]) == (len(set(codes)), codes[5:])


def test_an_edge_is_the_same_edge_in_dim_and_in_bright_light() -> None:
    """Patches of one texture with half or all the contrast share a code; the mirrored texture has another."""
    image = patchwork([edge(0.1, 0.9), edge(0.9, 0.1), flat(0.5, 0.5, 0.5)])
    codebook = KMeansCodebook(image_size=(4, 12), patch_size=4, vocab_size=3).fit(image, seeded(0))
    dim = codebook(patchwork([edge(0.3, 0.7), edge(0.7, 0.3), flat(0.55, 0.55, 0.5)]))

    assert codebook(image).tolist() == dim.tolist()
    assert 3 == len(set(dim[0].tolist()))


def test_codes_are_numbered_row_by_row() -> None:
    """Two rows of three flat patches: the codes come in reading order."""
    colours = [flat(0, 0, 0), flat(0, 1, 0), flat(1, 1, 1), flat(1, 0, 0), flat(0, 0, 1), flat(1, 1, 0)]
    image = torch.cat([patchwork(colours[:3]), patchwork(colours[3:])], dim=2)
    codebook = KMeansCodebook(image_size=(8, 12), patch_size=4, vocab_size=6).fit(image, seeded(0))
    alone = [codebook(colour.repeat(1, 2, 3)[None])[0, 0].item() for colour in colours]

    assert 6 == len(set(alone))
    assert [alone] == codebook(image).tolist()


@settings(deadline=None, max_examples=20)
@given(
    patch=st.sampled_from([1, 2, 4, (2, 4)]),
    channels=st.integers(1, 4),
    vocab_size=st.integers(1, 20),
    images=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_any_choice_can_be_fitted_and_the_same_seed_fits_the_same(
    patch: int | tuple[int, int], channels: int, vocab_size: int, images: int, seed: int
) -> None:
    """Finite centres, codes below V, fewer patches than codes included; bit for bit the same for the same generator."""
    pixels = torch.rand(images, channels, 4, 8, generator=seeded(seed))
    choices = {"image_size": (4, 8), "patch_size": patch, "channels": channels, "vocab_size": vocab_size}
    one, two = (KMeansCodebook(**choices).fit(pixels, seeded(seed)) for _ in range(2))

    assert torch.equal(one.centres, two.centres)
    assert bool(one.centres.isfinite().all())
    assert one(pixels).max() < vocab_size


def test_a_fit_finds_the_clusters_that_are_there_and_other_seeds_number_them_otherwise() -> None:
    """Sixteen well separated kinds of patches, unevenly frequent, get sixteen codes, whatever the seed."""
    kinds = torch.rand(16, 3, 4, 4, generator=seeded(0))
    kind = torch.cat([torch.zeros(900, dtype=torch.int64), torch.arange(16).repeat(20)])
    pixels = kinds[kind] + 0.01 * torch.rand(len(kind), 3, 4, 4, generator=seeded(1))
    found = [KMeansCodebook(image_size=4, patch_size=4, vocab_size=16).fit(pixels, seeded(seed)) for seed in range(4)]

    for codebook in found:
        codes = codebook(pixels)[:, 0]
        assert 16 == len({(int(code), int(which)) for code, which in zip(codes, kind, strict=True)})
        assert 16 == len(codes.unique())
    assert not torch.equal(found[0].centres, found[1].centres)


def test_a_fit_leaves_images_and_the_global_seed_alone() -> None:
    """Only the generator is drawn from, and the images are read only."""
    pixels = torch.rand(3, 3, 8, 8)
    before, state = pixels.clone(), torch.get_rng_state()
    KMeansCodebook(image_size=8, patch_size=4, vocab_size=4).fit(pixels, seeded(0))

    assert torch.equal(before, pixels)
    assert torch.equal(state, torch.get_rng_state())


def test_images_that_cannot_be_fitted_are_refused() -> None:
    """None at all, another size, and NaN each raise an InputError; the codebook stays as it was."""
    codebook = KMeansCodebook(image_size=8, patch_size=4, vocab_size=4)
    for images in (torch.zeros(0, 3, 8, 8), torch.zeros(2, 3, 8, 4), torch.full((2, 3, 8, 8), torch.nan)):
        with pytest.raises(InputError, match="codebook"):
            codebook.fit(images, seeded(0))
    assert codebook.ready is False


def test_centres_are_the_whole_state() -> None:
    """The state dict holds (V, C*h*w + C) centres and nothing else: texture, then mean colour."""
    codebook = KMeansCodebook(image_size=(8, 12), patch_size=(4, 2), channels=2, vocab_size=7)

    assert {"centres": (7, 2 * 4 * 2 + 2)} == {
        name: tuple(value.shape) for name, value in codebook.state_dict().items()
    }
