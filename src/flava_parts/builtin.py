"""The built-in plugin: FLAVA's own parts and presets, registered in the way that a third party registers its."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

from .hooks import hookimpl
from .part import PartSpec


@hookimpl
def flava_parts_specs() -> list[type[PartSpec]]:
    """Every spec of this package."""
    from .codebooks.specs import DVAESpec, KMeansSpec
    from .data.sources.specs import (
        CocoCaptionsSpec,
        EmojiSpec,
        GlossesSpec,
        HFDatasetSpec,
        ImageFolderSpec,
        ParquetSpec,
        PicturesSpec,
        ShardsSpec,
        TableSpec,
        TextsSpec,
    )
    from .encoders.specs import TextTransformerSpec, ViTSpec
    from .evaluate.specs import ProbeSpec, RetrievalSpec, ZeroShotSpec
    from .fusion.specs import FusionTransformerSpec
    from .heads.specs import LinearClassifierSpec, MLPClassifierSpec
    from .inputs.specs import WordPieceSpec
    from .losses.specs import GlobalContrastiveSpec, ITMSpec, MIMSpec, MLMSpec, MMMImageSpec, MMMTextSpec
    from .maskers.specs import (
        BertTokenMaskerSpec,
        BlockMaskerSpec,
        MismatchMaskerSpec,
        RandomMaskerSpec,
        WholeWordMaskerSpec,
    )
    from .train.specs import (
        AdamWSpec,
        ConsoleSpec,
        ConstantSpec,
        CsvSpec,
        JsonLinesSpec,
        MLflowSpec,
        MuonSpec,
        PiecewiseSpec,
        TensorBoardSpec,
        TrackioSpec,
        WandbSpec,
        WarmupCosineSpec,
        WarmupLinearSpec,
        WSDSpec,
    )

    return [
        ViTSpec,
        TextTransformerSpec,
        FusionTransformerSpec,
        DVAESpec,
        KMeansSpec,
        BlockMaskerSpec,
        RandomMaskerSpec,
        BertTokenMaskerSpec,
        WholeWordMaskerSpec,
        MismatchMaskerSpec,
        MIMSpec,
        MLMSpec,
        MMMImageSpec,
        MMMTextSpec,
        ITMSpec,
        GlobalContrastiveSpec,
        LinearClassifierSpec,
        MLPClassifierSpec,
        WordPieceSpec,
        EmojiSpec,
        GlossesSpec,
        ImageFolderSpec,
        PicturesSpec,
        TextsSpec,
        TableSpec,
        CocoCaptionsSpec,
        ShardsSpec,
        ParquetSpec,
        HFDatasetSpec,
        AdamWSpec,
        MuonSpec,
        WarmupCosineSpec,
        WarmupLinearSpec,
        WSDSpec,
        ConstantSpec,
        PiecewiseSpec,
        ConsoleSpec,
        JsonLinesSpec,
        CsvSpec,
        TensorBoardSpec,
        WandbSpec,
        MLflowSpec,
        TrackioSpec,
        RetrievalSpec,
        ZeroShotSpec,
        ProbeSpec,
    ]


@hookimpl
def flava_parts_presets() -> Traversable:
    """FLAVA's own configurations."""
    return files("flava_parts") / "presets"
