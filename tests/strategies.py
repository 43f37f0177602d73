"""What hypothesis draws in this suite: specs that are tiny and consistent by construction, spoilt ones, and batches."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from flava_parts.codebooks.specs import CodebookSpec, DVAESpec, KMeansSpec
from flava_parts.encoders.specs import TextTransformerSpec, ViTSpec
from flava_parts.errors import Loc
from flava_parts.facts import Grid, Vocab
from flava_parts.fusion.specs import FusionTransformerSpec
from flava_parts.losses.specs import (
    GlobalContrastiveSpec,
    ITMSpec,
    LossSpec,
    MIMSpec,
    MLMSpec,
    MMMImageSpec,
    MMMTextSpec,
)
from flava_parts.maskers.specs import (
    BertTokenMaskerSpec,
    BlockMaskerSpec,
    ImageMaskerSpec,
    MismatchMaskerSpec,
    RandomMaskerSpec,
    TextMaskerSpec,
    WholeWordMaskerSpec,
)
from flava_parts.spec import FlavaSpec

PROBABILITIES = st.floats(0, 1, allow_subnormal=False)
WEIGHTS = st.sampled_from([0.5, 1.0, 2.0])
VOCAB = Vocab()


def grids(largest: int = 6) -> SearchStrategy[Grid]:
    """Grids of patches, not square more often than not."""
    return st.builds(Grid, st.integers(1, largest), st.integers(1, largest))


@st.composite
def transformer_fields(draw: DrawFn) -> dict[str, Any]:
    """The choices that every transformer has; the heads divide the width."""
    heads = draw(st.sampled_from([1, 2, 4]))
    return {
        "width": heads * draw(st.sampled_from([4, 8])),
        "depth": draw(st.integers(1, 2)),
        "heads": heads,
        "mlp_width": draw(st.none() | st.integers(1, 32)),
        "activation": draw(st.sampled_from(["gelu", "relu", "selu", "gelu_new"])),
        "dropout": draw(st.sampled_from([0.0, 0.1])),
        "attention_dropout": draw(st.sampled_from([0.0, 0.1])),
        "qkv_bias": draw(st.booleans()),
        "norm_eps": draw(st.sampled_from([1e-12, 1e-5])),
        "pooler": draw(st.booleans()),
    }


@st.composite
def vits(draw: DrawFn, grid: Grid | None = None) -> ViTSpec:
    """Image encoders; of this grid, if one is given."""
    grid = grid or draw(grids())
    rows, columns = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    size, patch = (grid.rows * rows, grid.columns * columns), (rows, columns)
    square = size[0] == size[1] and rows == columns and draw(st.booleans())
    return ViTSpec(
        **draw(transformer_fields()),
        image_size=size[0] if square else size,
        patch_size=rows if square else patch,
        channels=draw(st.sampled_from([1, 3])),
    )


@st.composite
def text_encoders(draw: DrawFn) -> TextTransformerSpec:
    """Text encoders whose vocabulary holds BERT's special ids."""
    return TextTransformerSpec(
        **draw(transformer_fields()),
        vocab_size=draw(st.integers(max(VOCAB.special) + 1, 160)),
        length=draw(st.integers(2, 12)),
        token_types=draw(st.integers(1, 3)),
        position_embedding=draw(st.sampled_from(["absolute", "relative_key", "relative_key_query"])),
    )


@st.composite
def fusions(draw: DrawFn) -> FusionTransformerSpec:
    """Multimodal transformers."""
    return FusionTransformerSpec(
        **draw(transformer_fields()), cls_token=draw(st.booleans()), mask_text_padding=draw(st.booleans())
    )


@st.composite
def codebooks(draw: DrawFn, grid: Grid | None = None) -> CodebookSpec:
    """Codebooks; of this grid, if one is given."""
    grid = grid or draw(grids())
    if draw(st.booleans()):
        rows, columns = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        return KMeansSpec(
            image_size=(grid.rows * rows, grid.columns * columns),
            patch_size=(rows, columns),
            vocab_size=draw(st.integers(2, 16)),
            iterations=draw(st.integers(1, 3)),
        )
    groups = draw(st.integers(1, 3))
    shrink = 2 ** (groups - 1)
    return DVAESpec(
        image_size=(grid.rows * shrink, grid.columns * shrink),
        groups=groups,
        blocks=1,
        width=4,
        vocab_size=draw(st.integers(2, 16)),
        freeze=draw(st.booleans()),
        weights="random",
    )


@st.composite
def image_maskers(draw: DrawFn, grid: Grid) -> ImageMaskerSpec:
    """Image maskers that fit a grid."""
    total = draw(st.integers(1, grid.size))
    if draw(st.booleans()):
        return RandomMaskerSpec(total=total)
    blocks = BlockMaskerSpec(total=total, min_group=draw(st.integers(1, total)), exact=draw(st.booleans()))
    return blocks if blocks.hides_in(grid) else blocks.model_copy(update={"exact": True})


@st.composite
def text_maskers(draw: DrawFn, *, pieces: bool = True) -> TextMaskerSpec:
    """Text maskers; those of whole words only for a vocabulary that marks the pieces of words."""
    mask = draw(PROBABILITIES)
    return draw(st.sampled_from([BertTokenMaskerSpec, WholeWordMaskerSpec] if pieces else [BertTokenMaskerSpec]))(
        probability=draw(PROBABILITIES), mask_share=mask, random_share=draw(st.sampled_from([0.0, (1 - mask) / 2]))
    )


@st.composite
def losses(draw: DrawFn, *, fused: bool, coded: bool) -> dict[str, LossSpec]:
    """Some of FLAVA's six, of those that can be computed with a fusion and with a codebook, or without."""
    weight = draw(WEIGHTS)
    chosen: dict[str, LossSpec] = {
        "mlm": MLMSpec(weight=weight, activation=draw(st.sampled_from(["gelu", "relu"]))),
        "global_contrastive": GlobalContrastiveSpec(projection=draw(st.integers(1, 16))),
    }
    if coded:
        chosen["mim"] = MIMSpec(weight=draw(WEIGHTS))
    if fused:
        chosen["mmm_text"] = MMMTextSpec(weight=draw(WEIGHTS))
        chosen["itm"] = ITMSpec(all_negative=draw(st.sampled_from(["none", "as_positive"])))
    if fused and coded:
        chosen["mmm_image"] = MMMImageSpec(weight=draw(WEIGHTS))
    names = draw(st.lists(st.sampled_from(sorted(chosen)), min_size=1, unique=True))
    return {name: chosen[name] for name in names}


@st.composite
def flava_specs(draw: DrawFn) -> FlavaSpec:
    """Whole models whose parts agree."""
    grid = draw(grids())
    fusion, codebook = draw(st.none() | fusions()), draw(st.none() | codebooks(grid))
    return FlavaSpec(
        image_encoder=draw(vits(grid)),
        text_encoder=draw(text_encoders()),
        fusion=fusion,
        codebook=codebook,
        image_masker=draw(image_maskers(grid)),
        text_masker=draw(text_maskers(pieces=False)),  # a vocabulary this small has none
        pair_masker=draw(st.none() | st.builds(MismatchMaskerSpec, probability=PROBABILITIES)),
        losses=draw(losses(fused=fusion is not None, coded=codebook is not None)),
    )


@st.composite
def broken_flava_specs(draw: DrawFn) -> tuple[FlavaSpec, Loc]:
    """Whole models with one agreement spoilt, and where that should be reported."""
    spec, grid = draw(flava_specs()), draw(grids())
    image_encoder = draw(vits(grid))
    spoilt = {
        "codes": (
            spec.model_copy(
                update={
                    "image_encoder": image_encoder,
                    "codebook": draw(codebooks(Grid(grid.rows + 1, grid.columns))),
                    "image_masker": None,
                    "losses": {"mim": MIMSpec()},
                }
            ),
            ("codebook", "image_size"),
        ),
        "fusion": (spec.model_copy(update={"fusion": None, "losses": {"itm": ITMSpec()}}), ("losses", "itm")),
        "codebook": (spec.model_copy(update={"codebook": None, "losses": {"mim": MIMSpec()}}), ("losses", "mim")),
        "mask token": (
            spec.model_copy(
                update={
                    "image_encoder": image_encoder.model_copy(update={"mask_token": False}),
                    "codebook": draw(codebooks(grid)),
                    "image_masker": None,
                    "losses": {"mim": MIMSpec()},
                }
            ),
            ("image_encoder", "mask_token"),
        ),
        "special ids": (
            spec.model_copy(
                update={
                    "text_encoder": spec.text_encoder.model_copy(update={"vocab_size": max(VOCAB.special)}),
                    "text_masker": BertTokenMaskerSpec(),
                    "losses": {"mlm": MLMSpec()},
                }
            ),
            ("text_encoder", "vocab_size"),
        ),
    }
    return spoilt[draw(st.sampled_from(sorted(spoilt)))]


@st.composite
def token_batches(draw: DrawFn, vocab_size: int = 160, length: int = 12) -> dict[str, Any]:
    """`input_ids` and `attention_mask` (B, L): summary, words, separator, then padding up to the longest."""
    import torch

    words = st.lists(st.integers(max(VOCAB.special) + 1, vocab_size - 1), max_size=length - 2)
    texts = [[VOCAB.summary, *row, VOCAB.separator] for row in draw(st.lists(words, min_size=1, max_size=4))]
    longest = max(map(len, texts))
    return {
        "input_ids": torch.tensor([text + [VOCAB.pad] * (longest - len(text)) for text in texts]),
        "attention_mask": torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts]),
    }
