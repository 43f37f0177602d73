"""A plugin from outside the project: a part of every kind, a stream that nobody foresaw, its loss, and a preset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from flava_parts import PartSpec, hookimpl
from flava_parts.codebooks.specs import KMeansSpec
from flava_parts.data.sources.specs import GlossesSpec
from flava_parts.encoders.specs import TextTransformerSpec, ViTSpec
from flava_parts.evaluate.specs import RetrievalSpec
from flava_parts.facts import Modality, Provided, Stream
from flava_parts.fusion.specs import FusionTransformerSpec
from flava_parts.heads.specs import LinearClassifierSpec
from flava_parts.inputs.specs import WordPieceSpec
from flava_parts.losses.specs import LossSpec
from flava_parts.maskers.specs import BertTokenMaskerSpec, MismatchMaskerSpec, RandomMaskerSpec
from flava_parts.train.specs import AdamWSpec, JsonLinesSpec, WarmupCosineSpec

FLAVA_PARTS_API = 1
SHARPNESS: Stream = "edges.sharpness"
CHANNELS = 4


class EdgeEncoderSpec(ViTSpec):
    """A vision transformer that also says how sharp each picture is."""

    type: Literal["edges.encoder"] = "edges.encoder"

    @property
    def streams(self) -> Mapping[Stream, Provided]:
        return {SHARPNESS: Provided(run="image", width=CHANNELS)}

    def build(self) -> Any:
        from torch import nn

        from flava_parts.encoders.vision import VisionTransformer

        class EdgeEncoder(VisionTransformer):
            """Adds the stream."""

            def __init__(self, **fields: Any) -> None:
                super().__init__(**fields)
                self.sharpness = nn.Linear(self.width, CHANNELS)

            def forward(self, *arguments: Any, **options: Any) -> Any:
                output = super().forward(*arguments, **options)
                return replace(output, streams={SHARPNESS: self.sharpness(output.last_hidden_state[:, 0])})

        return EdgeEncoder(**self.arguments())


class SharpnessSpec(LossSpec):
    """The mean square of the sharpness that an encoder states."""

    type: Literal["edges.sharp"] = "edges.sharp"
    reads = frozenset({SHARPNESS})
    needs: ClassVar[frozenset[Modality]] = frozenset({"image"})

    def build(self, *, wiring: Any) -> Any:
        from edges_losses import Sharpness

        return Sharpness(width=wiring.stream_width(SHARPNESS), **self.arguments())


class TextSpec(TextTransformerSpec):
    """A text encoder."""

    type: Literal["edges.text"] = "edges.text"


class FusionSpec(FusionTransformerSpec):
    """A fusion."""

    type: Literal["edges.fusion"] = "edges.fusion"


class CodesSpec(KMeansSpec):
    """A codebook."""

    type: Literal["edges.codes"] = "edges.codes"


class PatchesSpec(RandomMaskerSpec):
    """An image masker."""

    type: Literal["edges.patches"] = "edges.patches"


class WordsSpec(BertTokenMaskerSpec):
    """A text masker."""

    type: Literal["edges.words"] = "edges.words"


class PairsSpec(MismatchMaskerSpec):
    """A pair masker."""

    type: Literal["edges.pairs"] = "edges.pairs"


class AnswerSpec(LinearClassifierSpec):
    """A head."""

    type: Literal["edges.answer"] = "edges.answer"


class PiecesSpec(WordPieceSpec):
    """A tokenizer."""

    type: Literal["edges.pieces"] = "edges.pieces"


class SayingsSpec(GlossesSpec):
    """A source."""

    type: Literal["edges.sayings"] = "edges.sayings"


class OptimizerSpec(AdamWSpec):
    """An optimiser."""

    type: Literal["edges.optimizer"] = "edges.optimizer"


class ScheduleSpec(WarmupCosineSpec):
    """A schedule."""

    type: Literal["edges.schedule"] = "edges.schedule"


class LinesSpec(JsonLinesSpec):
    """An observer."""

    type: Literal["edges.lines"] = "edges.lines"


class FindingSpec(RetrievalSpec):
    """An evaluation."""

    type: Literal["edges.finding"] = "edges.finding"


@hookimpl
def flava_parts_specs() -> list[type[PartSpec]]:
    """One of every kind."""
    return [
        EdgeEncoderSpec,
        SharpnessSpec,
        TextSpec,
        FusionSpec,
        CodesSpec,
        PatchesSpec,
        WordsSpec,
        PairsSpec,
        AnswerSpec,
        PiecesSpec,
        SayingsSpec,
        OptimizerSpec,
        ScheduleSpec,
        LinesSpec,
        FindingSpec,
    ]


@hookimpl
def flava_parts_presets() -> Path:
    """One model."""
    return Path(__file__).parent / "edges_presets"


def edges(count: int = 4) -> None:
    """Say how many edges there are."""
    print(f"{count} edges")
