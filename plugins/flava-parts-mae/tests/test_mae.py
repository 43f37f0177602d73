"""Encoders that skip patches: equal to the dense one where nothing is skipped, blind to what is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flava_parts_mae
import pytest
import torch
from flava_parts_mae.flip import FLIPViT
from flava_parts_mae.masked import MAEViT
from flava_parts_mae.specs import FLIPViTSpec, MAEViTSpec
from torch import Tensor

import flava_parts as fp
from flava_parts.encoders.vision import VisionTransformer
from flava_parts.errors import SpecError
from flava_parts.layers.attention import Attention
from flava_parts.testing import check_part

REGISTRY = fp.load_registry(plugins=[flava_parts_mae])
SIZES: dict[str, Any] = {"image_size": 16, "patch_size": 4, "width": 12, "depth": 3, "heads": 3, "init_std": 0.3}
DECODER: dict[str, Any] = {"decoder_width": 8, "decoder_depth": 2, "decoder_heads": 2}

SHORT = ["train.steps=3", "train.batch_size=4", "evaluate.retrieval=null"]
SHORT += [f"data.streams.{name}.batch_size=4" for name in ("paired", "images", "texts")]


def mae() -> MAEViT:
    torch.manual_seed(1)
    return MAEViT(**SIZES, **DECODER).double().eval()


def dense_like(part: VisionTransformer) -> VisionTransformer:
    """`flava.vit` with the part's weights."""
    dense = VisionTransformer(**SIZES, mask_token=part.mask_token is not None).double().eval()
    dense.load_state_dict({name: value for name, value in part.state_dict().items() if not name.startswith("decoder.")})
    return dense


def pixels(seed: int = 2) -> Tensor:
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def masks() -> Tensor:
    """Three rows with 5, 0 and 16 of 16 patches hidden."""
    masked = torch.zeros(3, 16, dtype=torch.bool)
    masked[0, [1, 2, 3, 8, 15]] = True
    masked[2] = True
    return masked


def test_it_is_the_dense_encoder_where_nothing_is_hidden() -> None:
    """Without a mask, and with an empty one: before and after the norm."""
    part = mae()
    expected = dense_like(part)(pixels())
    for masked in (None, torch.zeros(3, 16, dtype=torch.bool)):
        states = part(pixels(), masked)
        torch.testing.assert_close(states.pre_norm, expected.pre_norm)
        torch.testing.assert_close(states.last_hidden_state, expected.last_hidden_state)


def test_visible_patches_are_encoded_as_if_the_hidden_were_not_there() -> None:
    """Row by row: the dense encoder's blocks over the visible tokens alone, without padding."""
    part, masked = mae(), masks()
    dense = dense_like(part)
    states = part(pixels(), masked).last_hidden_state
    embedded = torch.cat([dense.cls_token.expand(3, -1, -1), dense.patch_embedding(pixels())], 1)
    embedded = embedded + dense.position_embedding
    for row in range(3):
        places = [0, *(1 + (~masked[row]).nonzero().flatten()).tolist()]
        alone = dense.run(embedded[row : row + 1, places]).last_hidden_state
        torch.testing.assert_close(states[row, places], alone[0])


def test_hidden_patches_come_from_the_decoder() -> None:
    """Its states, of all places, at the hidden ones; by its own layers, with transformers' reading of the paper."""
    part, masked = mae(), masks()
    states = part(pixels(), masked).pre_norm[:, 1:]
    visible = part(pixels(), masked).pre_norm
    tokens = part.decoder.input(visible)
    hidden = torch.cat([torch.zeros(3, 1, dtype=torch.bool), masked], 1)
    tokens[hidden] = part.decoder.mask_token[0, 0]
    tokens = tokens + part.decoder.position_embedding
    for block in part.decoder.blocks:
        tokens, _ = block(tokens)
    decoded = part.decoder.output(part.decoder.norm(tokens))[:, 1:]

    torch.testing.assert_close(states[masked], decoded[masked])


def test_what_is_hidden_does_not_show_and_is_not_computed() -> None:
    """Other pixels behind the mask change nothing; the encoder's attention sees as many tokens as are visible."""
    part, masked = mae(), masks()[:1]
    hidden = masked.view(1, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    seen, other = pixels()[:1], pixels(seed=3)[:1]
    lengths: list[int] = []
    for block in part.blocks:
        attention = block.attention
        assert isinstance(attention, Attention)
        attention.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    states = part(seen, masked).last_hidden_state

    assert [1 + 11] * 3 == lengths
    assert torch.equal(states, part(torch.where(hidden, other, seen), masked).last_hidden_state)
    assert not torch.equal(states, part(torch.where(hidden, seen, other), masked).last_hidden_state)


def test_patches_that_are_not_kept_are_seen_by_nobody() -> None:
    """Neither in the encoder nor in the decoder."""
    part, masked = mae(), masks()
    keep = torch.ones(3, 16, dtype=torch.bool)
    keep[:, [0, 4, 5]] = False
    dropped = (~keep).view(3, 1, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    other = torch.where(dropped, pixels(seed=3), pixels())
    here, there = (part(given, masked, keep).last_hidden_state[:, 1:] for given in (pixels(), other))

    torch.testing.assert_close(here[keep], there[keep])


def flip(drop: float) -> FLIPViT:
    torch.manual_seed(1)
    return FLIPViT(**SIZES, drop=drop).double()


def test_flip_is_dense_in_evaluation_and_where_it_drops_nothing() -> None:
    """And where patches are hidden, in training too."""
    dropping, keeping = flip(0.5), flip(0.0)
    dense = dense_like(dropping)
    expected = dense(pixels()).last_hidden_state

    torch.testing.assert_close(dropping.eval()(pixels()).last_hidden_state, expected)
    torch.testing.assert_close(keeping.train()(pixels()).last_hidden_state, expected)
    torch.testing.assert_close(
        dropping.train()(pixels(), masks()).last_hidden_state, dense(pixels(), masks()).last_hidden_state
    )


def test_flip_encodes_what_it_keeps_as_if_the_rest_were_not_there() -> None:
    """A dropped patch keeps its embedding; which ones are dropped changes, from torch's generator."""
    part = flip(0.5).train()
    dense = dense_like(part)
    embedded = torch.cat([dense.cls_token.expand(3, -1, -1), dense.patch_embedding(pixels())], 1)
    embedded = embedded + dense.position_embedding
    torch.manual_seed(7)
    states = part(pixels()).pre_norm
    skipped = (states == embedded).all(dim=2)

    assert [8, 8, 8] == skipped.sum(1).tolist()
    assert not skipped[:, 0].any()
    for row in range(3):
        places = (~skipped[row]).nonzero().flatten()
        torch.testing.assert_close(states[row, places], dense.run(embedded[row : row + 1, places]).pre_norm[0])
    assert not torch.equal(states, part(pixels()).pre_norm)
    torch.manual_seed(7)
    assert torch.equal(states, part(pixels()).pre_norm)


@pytest.mark.parametrize("spec", [MAEViTSpec(**SIZES, **DECODER), FLIPViTSpec(**SIZES)], ids=["mae", "flip"])
def test_the_kind_s_contract(spec: Any) -> None:
    """By the conformance suite."""
    assert [] == [str(check) for check in check_part(spec).failed]


def test_wrong_use_says_so() -> None:
    """In the file, and in the call."""
    block = {"type": "mae.vit", "image_size": 32, "patch_size": 8, "decoder_heads": 5}
    with pytest.raises(SpecError, match="decoder_heads: 5 heads do not divide a width of 512"):
        fp.load_spec({"base": "flava.tiny", "image_encoder": block}, registry=REGISTRY)
    with pytest.raises(ValueError, match="a pass that skips patches has no output_attentions"):
        mae()(pixels(), masks(), output_attentions=True)
    with pytest.raises(ValueError, match="reads a grid of 4x4"):
        mae()(torch.zeros(1, 3, 32, 32, dtype=torch.float64), torch.zeros(1, 64))


@pytest.mark.parametrize("preset", ["emoji", "emoji_flip"])
def test_the_emoji_run_trains(preset: str, tmp_path: Path) -> None:
    """A few steps of the preset, from file to checkpoint."""
    from flava_parts.train.run import run

    spec = fp.load_run(f"mae.{preset}", registry=REGISTRY, set=SHORT)

    assert 3 == run(spec, tmp_path, registry=REGISTRY).step
