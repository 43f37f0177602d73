"""The dVAE codebook equals transformers' and torchmultimodal's, given the same weights."""

import re

import pytest
import torch
from torch import nn
from torchmultimodal.models.flava.model import DalleEncoder, DalleVAEEncoder
from transformers import FlavaImageCodebook, FlavaImageCodebookConfig

from flava_parts.codebooks.dvae import DVAECodebook


def rename(name: str) -> str:
    """The name in `DVAECodebook` of a weight of either reference."""
    name = re.sub(r"^(encoder\.)?blocks\.", "", name)
    name = name.removeprefix("output.conv.") if not name.startswith("output.") else "output." + name.split(".")[-1]
    name = re.sub(
        r"^group_(\d+)\.(?:group\.)?block_(\d+)\.", lambda at: f"groups.{int(at[1]) - 1}.{int(at[2]) - 1}.", name
    )
    name = re.sub(r"res_path\.(?:path\.)?conv_(\d+)", lambda at: f"path.{int(at[1]) - 1}", name)
    name = name.replace("id_path", "skip")
    return re.sub(r"\.w$", ".weight", re.sub(r"\.b$", ".bias", name))


def copied(source: nn.Module, target: DVAECodebook) -> DVAECodebook:
    """``target`` with the weights of ``source``, all of them and nothing else."""
    target.load_state_dict({rename(name): value for name, value in source.state_dict().items()})
    return target


@pytest.mark.parametrize(
    ("blocks", "width", "vocab_size", "channels", "size"),
    [(2, 16, 50, 3, (32, 32)), (1, 8, 33, 1, (16, 24)), (3, 4, 8, 4, (8, 16))],
)
def test_equal_to_transformers(blocks: int, width: int, vocab_size: int, channels: int, size: tuple[int, int]) -> None:
    """Four groups: the same codes, and probabilities to 1e-5, for random weights with biases."""
    torch.manual_seed(0)
    config = FlavaImageCodebookConfig(
        num_blocks_per_group=blocks, hidden_size=width, vocab_size=vocab_size, input_channels=channels
    )
    theirs = FlavaImageCodebook(config).eval()
    for value in theirs.parameters():
        nn.init.normal_(value, std=(value[0].numel() if value.dim() > 1 else 100) ** -0.5)
    ours = copied(
        theirs,
        DVAECodebook(image_size=size, channels=channels, blocks=blocks, width=width, vocab_size=vocab_size),
    )
    pixels = torch.randn(3, channels, *size)

    with torch.no_grad():
        chances, codes = theirs.get_codebook_probs(pixels), theirs.get_codebook_indices(pixels)
    assert torch.allclose(chances, ours.probabilities(pixels), rtol=0, atol=1e-5)
    assert codes.flatten(1).tolist() == ours(pixels).tolist()
    assert len(codes.unique()) > 2


def test_equal_to_torchmultimodal() -> None:
    """The same codes and probabilities as torchmultimodal's encoder, whose random weights are drawn as ours are."""
    torch.manual_seed(0)
    theirs = DalleVAEEncoder.__new__(DalleVAEEncoder)
    nn.Module.__init__(theirs)
    theirs.encoder = DalleEncoder(n_hid=16, vocab_size=60)
    ours = copied(theirs, DVAECodebook(image_size=32, width=16, vocab_size=60))
    pixels = torch.rand(3, 3, 32, 32)

    with torch.no_grad():
        chances, codes = theirs.get_codebook_probs(pixels), theirs.get_codebook_indices(pixels)
    assert torch.allclose(chances, ours.probabilities(pixels), rtol=0, atol=1e-5)
    assert codes.flatten(1).tolist() == ours(pixels).tolist()
    assert len(codes.unique()) > 2


def test_trap_37_the_number_of_groups_is_the_number_of_groups() -> None:
    """transformers has four groups whatever it is told, and only changes a gain; here three are three."""
    config = FlavaImageCodebookConfig(num_groups=3, num_blocks_per_group=1, hidden_size=8, vocab_size=9)
    theirs = FlavaImageCodebook(config).state_dict()
    ours = DVAECodebook(image_size=16, groups=3, blocks=1, width=8, vocab_size=9).state_dict()

    assert {"1", "2", "3", "4"} == {name.split(".group_")[1][0] for name in theirs if "group_" in name}
    assert {"0", "1", "2"} == {name.split(".")[1] for name in ours if name.startswith("groups.")}


def test_the_published_size() -> None:
    """The default is the published codebook: as many weights, of the same shapes, as transformers' default."""
    with torch.device("meta"):
        theirs = FlavaImageCodebook(FlavaImageCodebookConfig()).state_dict()
        ours = DVAECodebook().state_dict()

    assert {rename(name): value.shape for name, value in theirs.items()} == {
        name: value.shape for name, value in ours.items()
    }
