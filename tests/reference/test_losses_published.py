"""The numbers that torchmultimodal's own tests publish and that need no trained weights, reproduced by our parts.

The seeds and the order of draws are those of its tests (of the contrastive loss, and of FLAVA's model, image encoder,
text encoder and transformer). Where a number hangs on random weights, its modules draw them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from reference.contrastive import published_setting, unprojected
from torch import Tensor, nn
from torch.nn import functional
from torchmultimodal.models.flava import model as flava
from torchmultimodal.models.flava.image_encoder import ImageEmbeddings, ImageTransformer
from torchmultimodal.models.flava.transformer import (
    TransformerEncoder,
    TransformerEncoderLayer,
    init_transformer_weights,
)
from torchmultimodal.modules.encoders.bert_text_encoder import BERTTextEncoder
from torchmultimodal.modules.layers.mlp import MLP
from torchmultimodal.modules.layers.text_embedding import BERTTextEmbeddings
from torchmultimodal.modules.losses.flava import FLAVAPretrainingLoss

from flava_parts.compose import compose
from flava_parts.encoders.text import TextTransformer
from flava_parts.encoders.vision import VisionTransformer
from flava_parts.facts import IGNORE, Streams
from flava_parts.fusion.specs import FusionTransformerSpec
from flava_parts.interop.keys import to_ours
from flava_parts.layers.transformer import Transformer
from flava_parts.losses.specs import GlobalContrastiveSpec, MLMSpec
from flava_parts.model import FlavaForPreTraining
from flava_parts.spec import FlavaSpec


def test_the_scale_starts_at_clips_temperature() -> None:
    assert pytest.approx(math.log(1 / 0.07), abs=1e-4) == GlobalContrastiveSpec().logit_scale
    assert pytest.approx(math.log(100), abs=1e-4) == GlobalContrastiveSpec().max_logit_scale


def embeddings_of_three_pairs() -> dict[str, Tensor]:
    torch.manual_seed(1234)
    return {Streams.IMAGE_SUMMARY: torch.randn(3, 5), Streams.TEXT_SUMMARY: torch.randn(3, 5)}


def test_contrastive_loss() -> None:
    value = unprojected(5)(embeddings_of_three_pairs()).value
    assert pytest.approx(9.8753, abs=1e-3) == value.item()


def test_contrastive_logits_under_label_smoothing() -> None:
    both_ways = unprojected(5).logits(embeddings_of_three_pairs())
    losses = [functional.cross_entropy(logits, torch.arange(3), label_smoothing=0.1) for logits in both_ways]
    assert pytest.approx(10.2524, abs=1e-3) == sum(losses).item() / 2


@pytest.mark.parametrize(
    ("inside", "outside", "limit"), [(2.0, 3.0, {"max_logit_scale": 2.0}), (2.0, 1.0, {"min_logit_scale": 2.0})]
)
def test_contrastive_scale_outside_its_range_is_the_range_s_end(
    inside: float, outside: float, limit: dict[str, float]
) -> None:
    values = [
        unprojected(5, logit_scale=scale, **limit)(embeddings_of_three_pairs()).value for scale in (inside, outside)
    ]
    assert pytest.approx(values[0].item()) == values[1].item()


def test_contrastive_gradients_of_one_process() -> None:
    images, texts, loss = published_setting()
    value = loss({Streams.IMAGE_SUMMARY: images, Streams.TEXT_SUMMARY: texts}).value
    value.backward()
    assert pytest.approx(3.8848, abs=1e-3) == value.item()
    assert pytest.approx(0.0979, abs=1e-3) == loss.image_projection.weight.grad.mean().item()
    assert pytest.approx(-1.8151, abs=1e-3) == loss.text_projection.bias.grad.mean().item()
    assert pytest.approx(3.6792, abs=1e-3) == loss.logit_scale.grad.item()


# -------------------------------------------------------------------------------------------- full size, random weights


def full_size(state: dict[str, Tensor], **losses: Any) -> FlavaForPreTraining:
    """Our model of 768 channels, holding a reference's weights; what it did not give stays on the meta device."""
    spec = FlavaSpec(
        image_encoder={"type": "flava.vit", "pooler": True},
        text_encoder={"type": "flava.text", "pooler": True},
        fusion=FusionTransformerSpec(pooler=True, mask_text_padding=False),
        codebook=None,
        losses=losses,
    )
    model = compose(spec, device="meta")
    weights = {
        name: value
        for name, value in to_ours(state, "torchmultimodal").items()
        if name.split(".")[0] != "losses" or name.split(".")[1] in losses
    }
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval()


def texts_and_images() -> tuple[Tensor, Tensor]:
    return torch.randint(0, 30500, (2, 77)), torch.rand(2, 3, 224, 224)


@torch.no_grad()
def test_classification_from_untrained_encoders() -> None:
    torch.manual_seed(1234)
    ids, pixels = texts_and_images()
    labels = torch.randint(0, 2, (2,))
    classifier = MLP(in_dim=768, out_dim=2, hidden_dims=768).eval()
    state = {f"model.{name}": value for name, value in flava.flava_model().state_dict().items()}
    state["loss.contrastive_loss.logit_scale"] = torch.tensor(0.0)
    ours = full_size(state, global_contrastive=GlobalContrastiveSpec())
    encoded = ours.encode(ids, pixels, attention_mask=ids != 0)
    for expected, output in ((0.7180, encoded.multimodal), (0.7020, encoded.image), (0.6663, encoded.text)):
        scores = classifier(output.last_hidden_state[:, 0])
        assert pytest.approx(expected, abs=1e-4) == functional.cross_entropy(scores, labels).item()


@torch.no_grad()
def test_masked_language_modelling_from_untrained_encoders() -> None:
    torch.manual_seed(1234)
    ids, _ = texts_and_images()
    torch.rand(2, 3, 112, 112), torch.randint(0, 2, (2, 196))
    state = {f"model.{name}": value for name, value in flava.flava_model().state_dict().items()}
    state |= {f"loss.{name}": value for name, value in FLAVAPretrainingLoss().state_dict().items()}
    ours = full_size(state, mlm=MLMSpec(norm_eps=1e-5), global_contrastive=GlobalContrastiveSpec())
    masked = ids.clone()
    masked[:, 1:3] = 100
    labels = torch.full_like(ids, IGNORE)
    labels[:, 1:3] = ids[:, 1:3]
    output = ours(input_ids_masked=masked, attention_mask=masked != 0, mlm_labels=labels)
    assert pytest.approx(10.0305, abs=1e-4) == output.loss.item()
    assert output.counts["mlm"].item() == 4


# ------------------------------------------------------------------------------------------------------- tiny encoders


def load(ours: nn.Module, theirs: nn.Module, prefix: str, slot: str) -> None:
    state = to_ours({f"{prefix}.{name}": value for name, value in theirs.state_dict().items()}, "torchmultimodal")
    ours.load_state_dict({name.removeprefix(f"{slot}."): value for name, value in state.items()}, strict=False)
    ours.eval()


def near(expected: list[Any], actual: Tensor) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected), rtol=0, atol=1e-4)


def test_image_encoder_of_two_channels() -> None:
    torch.manual_seed(0)
    embeddings = ImageEmbeddings(image_size=2, patch_size=1, hidden_size=2)
    encoder = TransformerEncoder(n_layer=1, d_model=2, n_head=1, dim_feedforward=1, activation=nn.GELU, norm_first=True)
    theirs = ImageTransformer(embeddings=embeddings, encoder=encoder, layernorm=nn.LayerNorm(2), pooler=nn.Identity())
    ours = VisionTransformer(image_size=2, patch_size=1, width=2, depth=1, heads=1, mlp_width=1)
    load(ours, theirs, "model.image_encoder", "image_encoder")
    ours.norm.eps = 1e-5
    output = ours(torch.ones(2, 3, 2, 2), output_attentions=True, output_hidden_states=True)
    near([[[0.0, 0.0]] + [[0.0224, 0.0573]] * 4] * 2, output.hidden_states[0])
    near([[[0.0008, 0.0008]] + [[0.0232, 0.0581]] * 4] * 2, output.hidden_states[1])
    near([[[-0.0040, 0.0040]] + [[-0.9840, 0.9840]] * 4] * 2, output.last_hidden_state)
    near([[[[0.2] * 5] + [[0.1999] + [0.2] * 4] * 4]] * 2, output.attentions[0])


@pytest.mark.parametrize(
    ("keep", "states", "weights"),
    [
        ([[0, 1]], [[1.0008, -0.9994], [-0.9997, 1.0012]], [[0.0, 1.0], [0.0, 1.0]]),
        ([[1, 0]], [[0.9997, -1.0012], [-1.0008, 0.9994]], [[1.0, 0.0], [1.0, 0.0]]),
    ],
)
def test_text_encoder_of_two_channels(keep: list[Any], states: list[Any], weights: list[Any]) -> None:
    torch.manual_seed(0)
    embeddings = BERTTextEmbeddings(hidden_size=2, vocab_size=3, max_position_embeddings=2)
    table = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        setattr(embeddings, name, nn.Embedding.from_pretrained(table.clone()))
    encoder = TransformerEncoder(n_layer=1, d_model=2, n_head=1, dim_feedforward=1, activation=nn.GELU, norm_first=True)
    theirs = BERTTextEncoder(
        embeddings=embeddings,
        encoder=encoder,
        layernorm=nn.LayerNorm(2),
        pooler=nn.Identity(),
        weight_init_fn=lambda module: init_transformer_weights(module, initializer_range=0.02),
    )
    ours = TextTransformer(vocab_size=3, length=3, token_types=3, width=2, depth=1, heads=1, mlp_width=1)
    load(ours, theirs, "model.text_encoder", "text_encoder")
    output = ours(torch.tensor([[0, 1]]), torch.tensor(keep), output_attentions=True, output_hidden_states=True)
    near([[[1.0, -1.0], [-1.0, 1.0]]], output.hidden_states[0])
    near([states], output.hidden_states[1])
    near([[[1.0, -1.0], [-1.0, 1.0]]], output.last_hidden_state)
    near([[weights]], output.attentions[0])


def stack(theirs: nn.Module, *, prefix: str = "", **sizes: Any) -> Transformer:
    """Our blocks with the weights of a reference's encoder."""
    ours = Transformer(dropout=0.0, attention_dropout=0.0, qkv_bias=True, norm_eps=1e-12, pooler=False, **sizes)
    state = {f"encoder.{prefix}{name}": value for name, value in theirs.state_dict().items()}
    final = {f"norm.{name[-1]}": value for name, value in renamed_final(state)}
    for name in [name for name in state if "final_layer_norm" in name]:
        del state[name]
    blocks = to_ours({f"model.mm_encoder.{name}": value for name, value in state.items()}, "torchmultimodal")
    ours.load_state_dict({name.removeprefix("fusion."): value for name, value in blocks.items()} | final, strict=False)
    return ours.eval()


def renamed_final(state: dict[str, Tensor]) -> Iterator[tuple[list[str], Tensor]]:
    for name, value in state.items():
        if "final_layer_norm" in name:
            yield name.split("."), value


def test_one_block_over_eight_tokens() -> None:
    torch.manual_seed(4)
    inputs = torch.randn(1, 2, 2, 2, 2)
    theirs = TransformerEncoderLayer(2, 1, 2, norm_first=True)
    ours = stack(theirs, prefix="layer.0.", width=2, depth=1, heads=1, mlp_width=2, activation="relu")
    expected = [
        [[-1.5605, 2.3367], [-0.8028, 1.2239], [-0.3491, 0.7343], [-3.2212, 1.6979]],
        [[-1.4874, 0.8684], [-0.2215, 1.7433], [-0.6728, 1.1201], [-2.2237, -1.1081]],
    ]
    near([[*expected[0], *expected[1]]], ours.run(inputs.flatten(1, 3)).pre_norm)


def test_two_blocks() -> None:
    torch.manual_seed(4)
    inputs = torch.rand(2, 3, 2)
    theirs = TransformerEncoder(
        n_layer=2, d_model=2, n_head=2, dim_feedforward=3072, activation=nn.GELU, norm_first=True
    )
    ours = stack(theirs, width=2, depth=2, heads=2, mlp_width=3072, activation="gelu")
    output = ours.run(inputs, output_attentions=True, output_hidden_states=True)
    near(
        [
            [[1.6669, 0.3613], [1.0610, 0.0896], [0.9768, -0.0814]],
            [[2.3306, 0.6623], [1.8439, 0.7909], [1.6566, -0.0360]],
        ],
        output.pre_norm,
    )
    near(
        [
            [[3.4371, 0.9657], [1.7571, 0.0734], [1.5043, -0.4397]],
            [[5.1976, 1.9218], [3.8499, 2.2402], [3.1757, -0.1730]],
        ],
        torch.stack(output.hidden_states).sum(0),
    )
    near(
        [
            [
                [[0.8520, 0.5740, 0.5740], [0.6232, 0.6884, 0.6884], [0.6232, 0.6884, 0.6884]],
                [[0.5859, 0.7071, 0.7071], [0.6515, 0.6742, 0.6742], [0.6515, 0.6742, 0.6742]],
            ],
            [
                [[0.7392, 0.5216, 0.7392], [0.6434, 0.7132, 0.6434], [0.7392, 0.5216, 0.7392]],
                [[0.6207, 0.7586, 0.6207], [0.6589, 0.6822, 0.6589], [0.6207, 0.7586, 0.6207]],
            ],
        ],
        torch.stack(output.attentions).sum(0),
    )


def test_two_blocks_and_their_final_norm() -> None:
    torch.manual_seed(4)
    inputs = torch.rand(2, 3, 4)
    theirs = TransformerEncoder(
        n_layer=2,
        d_model=4,
        n_head=2,
        dim_feedforward=3072,
        activation=nn.GELU,
        norm_first=True,
        final_layer_norm_eps=1e-12,
    )
    ours = stack(theirs, width=4, depth=2, heads=2, mlp_width=3072, activation="gelu")
    output = ours.run(inputs, output_attentions=True, output_hidden_states=True)
    near(
        [
            [[0.0670, -1.5311, 1.2704, 0.1937], [-0.7999, -0.9243, 1.5761, 0.1481], [0.1925, -0.6254, 1.5352, -1.1022]],
            [
                [0.6513, -1.6111, -0.0297, 0.9895],
                [0.1316, -1.1576, 1.5417, -0.5156],
                [-0.3600, -1.4460, 0.6302, 1.1758],
            ],
        ],
        output.last_hidden_state,
    )
    near(
        [
            [[1.4894, 1.2685, 1.7669, 0.8038], [0.1563, 0.3721, 4.3070, 2.4121], [1.6380, 2.0771, 2.3102, 0.4584]],
            [[2.8866, 2.0093, 2.8522, 3.0838], [1.8855, 1.0953, 2.5921, 0.6673], [1.8191, 1.5908, 2.8085, 2.3234]],
        ],
        torch.stack(output.hidden_states).sum(0),
    )
    near(
        [
            [
                [[0.6653, 0.6376, 0.6971], [0.7078, 0.5621, 0.7302], [0.6506, 0.6943, 0.6551]],
                [[0.6333, 0.7897, 0.5770], [0.7207, 0.7019, 0.5774], [0.7285, 0.7195, 0.5520]],
            ],
            [
                [[0.6919, 0.7021, 0.6060], [0.6274, 0.7462, 0.6264], [0.7025, 0.7090, 0.5885]],
                [[0.5826, 0.6227, 0.7947], [0.6855, 0.6174, 0.6971], [0.7317, 0.6057, 0.6625]],
            ],
        ],
        torch.stack(output.attentions).sum(0),
    )
