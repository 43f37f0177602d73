"""Layer decay: each layer's factor, and groups of an optimiser that hold every parameter once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import fusions, text_encoders, vits
from torch import nn

from flava_parts.heads.classification import FlavaForClassification
from flava_parts.heads.classifier import MLPClassifier
from flava_parts.train.layer_decay import FACTOR, layer_factors, scale_rates
from flava_parts.train.specs import AdamWSpec


@st.composite
def classifiers(draw: st.DrawFn) -> FlavaForClassification:
    """Classifiers of images, of texts, or of pairs; perhaps with frozen parts."""
    reads = draw(st.sampled_from(["image", "text", "fused"]))
    image, text, fusion = draw(vits()), draw(text_encoders()), draw(fusions())
    parts: dict[str, nn.Module] = {}
    if reads != "text":
        parts["image_encoder"] = image.build()
    if reads != "image":
        parts["text_encoder"] = text.build()
    if reads == "fused":
        parts["fusion"] = fusion.build(image=image.tokens, text=text.tokens)
    width = {"image": image.width, "text": text.width, "fused": fusion.width}[reads]
    head = MLPClassifier(width=width, classes=3, reads=reads, hidden=4)
    frozen = draw(st.sets(st.sampled_from(sorted(parts))))
    return FlavaForClassification(head=head, frozen=frozen, **parts)  # pyright: ignore[reportArgumentType]


@given(classifiers(), st.sampled_from([0.5, 0.75, 1.0]))
def test_factors_fall_from_layer_to_layer(model: FlavaForClassification, decay: float) -> None:
    """The head is at 1, the topmost block at `decay`, its embeddings at `decay` to the depth plus one; encoders below a
    fusion go on from there."""
    factors = layer_factors(model, decay)

    assert {name for name, _ in model.named_parameters()} == factors.keys()
    for name, factor in factors.items():
        slot, _, inner = name.partition(".")
        if slot == "head":
            assert 1.0 == factor
            continue
        depth = len(getattr(model, slot).blocks)
        above = len(model.fusion.blocks) + 1 if model.fusion is not None and slot != "fusion" else 0
        if inner.startswith("blocks."):
            distance = depth - int(inner.split(".")[1])
        else:
            distance = 0 if inner.startswith(("norm.", "pooler.")) else depth + 1
        assert decay ** (above + distance) == pytest.approx(factor), name


def test_the_factors_of_a_vit_of_twelve_blocks_are_beits() -> None:
    """BEiT's 14 layers: embeddings 0, blocks 1 to 12, the rest 13; each a factor of 0.65 below the next."""
    with torch.device("meta"):
        from flava_parts.encoders.vision import VisionTransformer

        model = FlavaForClassification(
            image_encoder=VisionTransformer(), head=MLPClassifier(width=768, classes=2, reads="image")
        )
    factors = layer_factors(model, 0.65)
    layers = {"patch_embedding.projection.weight": 0, "cls_token": 0, "position_embedding": 0, "norm.weight": 13}
    layers |= {f"blocks.{index}.mlp.up.weight": index + 1 for index in range(12)}

    for name, layer in layers.items():
        assert 0.65 ** (13 - layer) == pytest.approx(factors[f"image_encoder.{name}"]), name


@settings(max_examples=15)
@given(classifiers(), st.sampled_from([0.5, 1.0]))
def test_groups_are_disjoint_and_complete(model: FlavaForClassification, decay: float) -> None:
    """Every parameter that is not frozen is in one group, that of its factor and of its decay: weights of linear and
    convolution layers decay, norms, biases, embeddings and tokens do not."""
    optimizer = AdamWSpec(weight_decay=0.01).build(model=model)
    factors = layer_factors(model, decay)
    scale_rates(optimizer, model, factors)
    matrices = {f"{name}.weight" for name, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    names = {id(weight): name for name, weight in model.named_parameters()}
    grouped = [
        (names[id(weight)], group[FACTOR], group["weight_decay"])
        for group in optimizer.param_groups
        for weight in group["params"]
    ]
    trainable = [name for name, weight in model.named_parameters() if weight.requires_grad]

    assert sorted(trainable) == sorted(name for name, _, _ in grouped)
    for name, factor, weight_decay in grouped:
        assert factors[name] == factor
        assert (0.01 if name in matrices else 0.0) == weight_decay, name


def test_a_part_without_blocks_is_one_layer() -> None:
    """A plugin's encoder of another build."""
    model = FlavaForClassification(
        image_encoder=nn.Linear(2, 2),  # pyright: ignore[reportArgumentType]
        head=MLPClassifier(width=2, classes=2, reads="image"),
    )

    assert {0.5} == {factor for name, factor in layer_factors(model, 0.5).items() if name.startswith("image_encoder")}
