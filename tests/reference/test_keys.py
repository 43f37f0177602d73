"""Names of weights: what is known travels, what is not is an error that names it."""

from __future__ import annotations

import pytest
import torch

from flava_parts.encoders.text import TextTransformer
from flava_parts.interop.keys import Peer, from_ours, our_name, their_names, to_ours

SAME = [
    (
        "image_encoder.blocks.11.attention.query.bias",
        "flava.image_model.encoder.layer.11.attention.attention.query.bias",
        "model.image_encoder.encoder.layer.11.attention.query.bias",
    ),
    (
        "text_encoder.embedding_norm.weight",
        "flava.text_model.embeddings.LayerNorm.weight",
        "model.text_encoder.embeddings.layer_norm.weight",
    ),
    ("fusion.cls_token", "flava.multimodal_model.cls_token", "model.mm_encoder.cls_token"),
    ("fusion.blocks.0.mlp.down.weight", None, "model.mm_encoder.encoder.layer.0.feedforward.model.2.weight"),
    ("losses.global_contrastive.logit_scale", "flava.logit_scale", "loss.contrastive_loss.logit_scale"),
    (
        "losses.mmm_image.head.norm.bias",
        "mmm_image_head.transform.LayerNorm.bias",
        "loss.mmm_loss.mim.cls.layer_norm.bias",
    ),
    ("losses.itm.classifier.weight", "itm_head.seq_relationship.weight", "loss.itm_loss.cls.seq_relationship.weight"),
    (
        "codebook.groups.1.0.path.3.bias",
        "image_codebook.blocks.group_2.group.block_1.res_path.path.conv_4.bias",
        "image_codebook.encoder.blocks.group_2.block_1.res_path.conv_4.b",
    ),
    (
        "codebook.groups.3.0.skip.weight",
        "image_codebook.blocks.group_4.group.block_1.id_path.weight",
        "image_codebook.encoder.blocks.group_4.block_1.id_path.w",
    ),
]


@pytest.mark.parametrize(("ours", "transformers", "torchmultimodal"), SAME)
def test_one_weight_has_one_name_in_each(ours: str, transformers: str | None, torchmultimodal: str) -> None:
    if transformers is not None:
        assert (transformers,) == their_names(ours, "transformers")
        assert ours == our_name(transformers, "transformers")
    assert (torchmultimodal,) == their_names(ours, "torchmultimodal")
    assert ours == our_name(torchmultimodal, "torchmultimodal")


@pytest.mark.parametrize(
    ("peer", "names"),
    [
        ("transformers", ("mlm_head.decoder.bias", "mlm_head.bias")),
        ("torchmultimodal", ("loss.mlm_loss.cls.decoder.bias", "loss.mlm_loss.cls.bias")),
    ],
)
def test_a_bias_that_is_stored_twice_is_one_weight(peer: Peer, names: tuple[str, str]) -> None:
    assert names == their_names("losses.mlm.head.decoder.bias", peer)
    assert {"losses.mlm.head.decoder.bias"} == {our_name(name, peer) for name in names}


def test_counters_in_old_checkpoints_are_no_weights() -> None:
    state = {"flava.text_model.embeddings.position_ids": 0, "flava.logit_scale": 1}
    assert {"losses.global_contrastive.logit_scale": 1} == to_ours(state, "transformers")


def test_unknown_names_are_all_named() -> None:
    with pytest.raises(KeyError, match=r"classifier\.weight, flava\.vision\.norm"):
        to_ours({"classifier.weight": 0, "flava.logit_scale": 0, "flava.vision.norm": 0}, "transformers")


def test_weights_that_a_peer_has_no_place_for_are_all_named() -> None:
    with torch.device("meta"):
        text = TextTransformer(width=8, depth=2, heads=2, position_embedding="relative_key")
    state = {f"text_encoder.{name}": value for name, value in text.state_dict().items()}
    with pytest.raises(KeyError, match=r"blocks\.0\.attention\.relative\.distances.*blocks\.1\.attention\.relative"):
        from_ours(state, "transformers")
