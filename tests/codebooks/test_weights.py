"""Weights named in a spec are read when the part is built."""

import pytest
import torch

from flava_parts.codebooks.specs import DVAESpec, KMeansSpec
from flava_parts.compose import compose
from flava_parts.errors import InputError
from flava_parts.loading import load_spec

KMEANS = KMeansSpec(image_size=8, patch_size=4, vocab_size=6)
DVAE = DVAESpec(image_size=8, groups=2, blocks=1, width=4, vocab_size=6, weights="random")


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_kmeans_centres_come_from_their_file(tmp_path, pixels):
    """Also through a whole model, which is then ready without a fit."""
    fitted = KMEANS.build().fit(pixels, torch.Generator().manual_seed(0))
    fitted.save(tmp_path / "centres.safetensors")
    spec = KMEANS.model_copy(update={"weights": str(tmp_path / "centres.safetensors")})
    tiny = load_spec("flava.tiny")
    model = compose(tiny.model_copy(update={"codebook": spec, "losses": {"mlm": tiny.losses["mlm"]}}))

    assert not spec.learns_from_images
    assert torch.equal(fitted(pixels), spec.build()(pixels))
    assert torch.equal(fitted(pixels), model.codebook(pixels))


def test_dvae_weights_come_from_their_file(tmp_path, pixels):
    random = DVAE.build()
    random.save(tmp_path / "dvae.safetensors")
    spec = DVAE.model_copy(update={"weights": str(tmp_path / "dvae.safetensors")})

    assert not spec.is_random
    assert torch.equal(random(pixels), spec.build()(pixels))


def test_a_file_that_is_missing_is_named(tmp_path):
    spec = DVAE.model_copy(update={"weights": str(tmp_path / "missing.safetensors")})
    with pytest.raises(InputError, match=r"missing\.safetensors"):
        spec.build()
