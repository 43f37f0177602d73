"""The three whole specs: `FlavaSpec`, a model; `RunSpec`, its pretraining; `FinetuneSpec`, what it is then taught."""

from __future__ import annotations

from .codebooks.specs import CodebookSpec, DVAESpec
from .data.specs import DataSpec, LabelledDataSpec
from .encoders.specs import ImageEncoderSpec, TextEncoderSpec, TextTransformerSpec, ViTSpec
from .evaluate.specs import EvaluationSpec
from .fields import Named
from .fusion.specs import FusionSpec, FusionTransformerSpec
from .heads.specs import HeadSpec, MLPClassifierSpec
from .losses.specs import GlobalContrastiveSpec, ITMSpec, LossSpec, MIMSpec, MLMSpec, MMMImageSpec, MMMTextSpec
from .maskers.specs import (
    BertTokenMaskerSpec,
    BlockMaskerSpec,
    ImageMaskerSpec,
    MismatchMaskerSpec,
    PairMaskerSpec,
    TextMaskerSpec,
)
from .part import Slot, Spec
from .train.specs import ConsoleSpec, FinetuneTrainSpec, JsonLinesSpec, ObserverSpec, PretrainTrainSpec


class FlavaSpec(Spec):
    """A FLAVA model: which part fills each slot. The defaults are facebook/flava-full without its untrained poolers."""

    image_encoder: Slot[ImageEncoderSpec] = ViTSpec()
    """Pixels to states."""
    text_encoder: Slot[TextEncoderSpec] = TextTransformerSpec()
    """Ids to states."""
    fusion: Slot[FusionSpec] | None = FusionTransformerSpec()
    """States of both to states of the pair; null for a model of two towers."""
    codebook: Slot[CodebookSpec] | None = DVAESpec()
    """Pixels to the codes that masked patches are to predict; null if labels are given or no loss needs them."""
    image_masker: Slot[ImageMaskerSpec] | None = BlockMaskerSpec()
    """Which patches are hidden in training."""
    text_masker: Slot[TextMaskerSpec] | None = BertTokenMaskerSpec()
    """Which words are hidden in training."""
    pair_masker: Slot[PairMaskerSpec] | None = MismatchMaskerSpec()
    """Which pairs are mismatched in training."""
    losses: Named[Slot[LossSpec]] = {
        "mim": MIMSpec(),
        "mlm": MLMSpec(),
        "mmm_image": MMMImageSpec(),
        "mmm_text": MMMTextSpec(),
        "itm": ITMSpec(),
        "global_contrastive": GlobalContrastiveSpec(),
    }
    """The losses by name; the names appear in outputs, logs and checkpoints."""


class RunSpec(Spec):
    """A run: a model, the data it learns from, how it is trained, and what is measured."""

    model: FlavaSpec
    """The model."""
    data: DataSpec
    """What it learns from."""
    train: PretrainTrainSpec
    """How it is trained."""
    evaluate: Named[Slot[EvaluationSpec]] = {}
    """What is measured at the end, by name."""
    observers: Named[Slot[ObserverSpec]] = {"console": ConsoleSpec(), "jsonl": JsonLinesSpec()}
    """Who watches, by name."""


class FinetuneSpec(Spec):
    """A fine-tuning: a pretrained model, a head, and labelled data that both learn from."""

    pretrained: str | None = None
    """The pretrained model: a run's folder, a checkpoint, or anything else that `load_pretrained` reads."""
    model: FlavaSpec | None = None
    """The model, or what is different from the pretrained one's. Without a pretrained one it starts from random
    weights."""
    head: Slot[HeadSpec] = MLPClassifierSpec()
    """What is answered, and from which summary."""
    data: LabelledDataSpec
    """What is learnt from."""
    train: FinetuneTrainSpec
    """How it is trained."""
    observers: Named[Slot[ObserverSpec]] = {"console": ConsoleSpec(), "jsonl": JsonLinesSpec()}
    """Who watches, by name."""
