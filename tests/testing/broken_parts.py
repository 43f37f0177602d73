"""Parts that break one law each, as a plugin's author could: a good part of the package with one thing done wrong."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, ClassVar, Literal

from flava_parts.codebooks.specs import CodebookSpec, KMeansSpec
from flava_parts.data.sources.specs import SourceSpec
from flava_parts.encoders.specs import TextTransformerSpec, ViTSpec
from flava_parts.evaluate.specs import EvaluationSpec
from flava_parts.facts import Codes, Grid, ImageTokens
from flava_parts.fields import Pixels, PositiveFloat, PositiveInt
from flava_parts.fusion.specs import FusionTransformerSpec
from flava_parts.heads.specs import LinearClassifierSpec
from flava_parts.inputs.specs import WordPieceSpec
from flava_parts.losses.specs import ITMSpec, MIMSpec
from flava_parts.maskers.specs import BertTokenMaskerSpec, MismatchMaskerSpec, RandomMaskerSpec
from flava_parts.part import PartSpec
from flava_parts.train.specs import ObserverSpec, OptimizerSpec, ScheduleSpec


class Broken(PartSpec):
    """A part whose implementation is one of the broken modules; a mixin in front of a good spec."""

    type: Literal["broken.part"] = "broken.part"
    breaks: ClassVar[str]
    """The one law that the part breaks."""
    made_by: ClassVar[str]
    """The name in `broken_modules`."""
    small: ClassVar[dict[str, Any]] = {}
    """Fields that keep it small."""

    def build(self, **given: Any) -> Any:
        return getattr(importlib.import_module("testing.broken_modules"), self.made_by)(**self.arguments(), **given)


class Vit(Broken, ViTSpec):
    """A small image encoder."""

    made_by = "VisionTransformer"
    small: ClassVar = {"image_size": 8, "patch_size": 2, "width": 8, "depth": 1, "heads": 2}


class Text(Broken, TextTransformerSpec):
    """A small text encoder."""

    small: ClassVar = {"width": 8, "depth": 1, "heads": 2, "vocab_size": 50, "length": 8}


class Fusion(Broken, FusionTransformerSpec):
    """A small fusion."""

    small: ClassVar = {"width": 8, "depth": 1, "heads": 2}


class KMeans(Broken, KMeansSpec):
    """A small codebook."""

    small: ClassVar = {"image_size": 16, "patch_size": 4, "vocab_size": 7, "iterations": 1}


# -------------------------------------------------------------------------------------------- laws of every part


class Undescribed(Vit):
    """Has a field of which nobody says what it is."""

    breaks = "described"
    norm_eps: PositiveFloat = 1e-12


class NoRoundTrip(Vit):
    """Has a field that comes out as another type than goes in."""

    breaks = "round_trip"
    folder: Path = Path("weights")
    """A folder."""

    def arguments(self) -> dict[str, Any]:
        return {name: value for name, value in super().arguments().items() if name != "folder"}


class TorchInFacts(Vit):
    """Asks torch for its facts."""

    breaks = "torch_free"

    @property
    def tokens(self) -> ImageTokens:
        import torch

        side = int(torch.tensor(4))
        return ImageTokens(Grid(side, side), 1, self.width)


class NotBuilt(Vit):
    """Cannot be built."""

    breaks = "builds"

    def build(self) -> Any:
        raise TypeError("build() takes no grid")


class Constructor(Broken, LinearClassifierSpec):
    """Has another default than its module."""

    breaks = "constructor"
    made_by = "OtherDefault"


class Lambda(Vit):
    """Holds a function without a name."""

    breaks = "pickles"
    made_by = "holds_a_lambda"


# --------------------------------------------------------------------------------------------- laws of all modules


class WrongWidth(Vit):
    """States another width than its module has."""

    breaks = "facts"

    @property
    def tokens(self) -> ImageTokens:
        return ImageTokens(Grid(4, 4), 1, 2 * self.width)


class Unrepeatable(Vit):
    """Draws weights from Python's generator."""

    breaks = "deterministic"
    made_by = "unrepeatable"


class WritesPixels(Vit):
    """Clamps the pixels that it is given."""

    breaks = "inputs_kept"
    made_by = "WritesPixels"


class CentresBatch(Vit):
    """Subtracts the mean over the batch."""

    breaks = "batch_order"
    made_by = "CentresBatch"


class SpareLayer(Vit):
    """Has a layer that nothing passes through."""

    breaks = "gradients"
    made_by = "with_a_spare_layer"


class OtherWhenCompiled(Vit):
    """Leaves the final norm out while torch compiles."""

    breaks = "compiles"
    made_by = "OtherWhenCompiled"


class BranchesOnValues(Vit):
    """Looks at the value of a tensor to decide what to do."""

    breaks = "exports"
    made_by = "BranchesOnValues"


# --------------------------------------------------------------------------------------------------- laws of kinds


class IgnoresMask(Vit):
    """Hides nothing."""

    breaks = "masking"
    made_by = "IgnoresMask"


class IgnoresKeep(Vit):
    """Attends to every patch."""

    breaks = "padding"
    made_by = "IgnoresKeep"


class MasksBoth(Vit):
    """Hides patches of the clean pass where that is run together with the masked one."""

    breaks = "images_together"
    made_by = "MasksBoth"


class ReadsTooEarly(Text):
    """Leaves out what is not read before its words have seen each other."""

    breaks = "narrowed"
    made_by = "ReadsTooEarly"


class CutsGradients(Fusion):
    """Does not teach the text encoder where only some positions are read."""

    breaks = "narrowed"
    made_by = "CutsGradients"


class AttendsToAbsent(Text):
    """Attends to all words where it is told which are present."""

    breaks = "spared"
    made_by = "AttendsToAbsent"


class DropsWords(Fusion):
    """Leaves one word too many out."""

    breaks = "spared"
    made_by = "DropsWords"


class MixesPasses(Text):
    """Reads masked words in the clean pass where that is run together with the masked one."""

    breaks = "texts_together"
    made_by = "MixesPasses"


class IgnoresPadding(Text):
    """Attends to padding."""

    breaks = "text_padding"
    made_by = "IgnoresPadding"


class IgnoresIds(Text):
    """Gives every text the same states."""

    breaks = "reads_ids"
    made_by = "IgnoresIds"


class OwnLayout(Fusion):
    """States one layout and has another."""

    breaks = "layout"
    made_by = "OwnLayout"


class SummaryOfImage(Fusion):
    """Has a summary that knows nothing of the text."""

    breaks = "fuses"
    made_by = "SummaryOfImage"


class IgnoresTextKeep(Fusion):
    """Attends to padding."""

    breaks = "fused_padding"
    made_by = "IgnoresTextKeep"


class CodesFromOne(KMeans):
    """Counts codes from 1."""

    breaks = "codes"
    made_by = "CodesFromOne"


class OneCode(KMeans):
    """Gives every patch the same code."""

    breaks = "reads_pixels"
    made_by = "OneCode"


class FollowsPrecision(Broken, CodebookSpec):
    """Computes codes in the precision of the model around it."""

    breaks = "float32"
    made_by = "FollowsPrecision"
    image_size: Pixels = 16
    """Side."""
    channels: PositiveInt = 3
    """Colours."""

    @property
    def codes(self) -> Codes:
        return Codes(Grid(4, 4), 50)

    @property
    def learns_from_images(self) -> bool:
        return False

    @property
    def is_random(self) -> bool:
        return False


class GlobalGenerator(Broken, RandomMaskerSpec):
    """Draws from torch's own generator."""

    breaks = "generator"
    made_by = "GlobalGenerator"


class HidesMore(Broken, RandomMaskerSpec):
    """Hides one more than it states."""

    breaks = "masks"
    made_by = "hides_more"


class PythonsRandom(Broken, BertTokenMaskerSpec):
    """Draws from Python's generator."""

    breaks = "generator"
    made_by = "PythonsRandom"


class LabelsAll(Broken, BertTokenMaskerSpec):
    """Labels what it does not hide."""

    breaks = "labels"
    made_by = "LabelsAll"


class AllMatch(Broken, MismatchMaskerSpec):
    """Says that mismatched pairs match."""

    breaks = "pairs"
    made_by = "AllMatch"


class Peeks(Broken, MIMSpec):
    """Reads a stream that it does not list."""

    breaks = "declared_streams"

    def build(self, *, wiring: Any) -> Any:
        fields = {"states": self.states, "labels": self.labels, "width": 8, "vocab_size": 11}
        return importlib.import_module("testing.broken_modules").PeeksAtImage(**fields, **self.arguments())


class AlwaysOne(Broken, MIMSpec):
    """Has a value where there is nothing to predict."""

    breaks = "empty"

    def build(self, *, wiring: Any) -> Any:
        fields = {"states": self.states, "labels": self.labels, "width": 8, "vocab_size": 11}
        return importlib.import_module("testing.broken_modules").NoEmptyBatch(**fields, **self.arguments())


class Itm(Broken, ITMSpec):
    """A matching loss."""

    def build(self, *, wiring: Any) -> Any:
        return getattr(importlib.import_module("testing.broken_modules"), self.made_by)(width=8, **self.arguments())


class WeightTwice(Itm):
    """Multiplies by its weight twice."""

    breaks = "weight"
    made_by = "WeightTwice"


class OtherWhenDense(Itm):
    """Is another loss when every position is asked for."""

    breaks = "dense"
    made_by = "OtherWhenDense"


class Unsure(Broken, LinearClassifierSpec):
    """Has probabilities that do not add up to 1."""

    breaks = "answers"
    made_by = "Unsure"


class OtherPadding(Broken, WordPieceSpec):
    """Pads with another id than it states."""

    breaks = "batches"
    made_by = "OtherPadding"


class NeighbourAware(Broken, WordPieceSpec):
    """Gives a text other ids when it is alone."""

    breaks = "row_by_row"
    made_by = "NeighbourAware"


class Texts(Broken, SourceSpec):
    """A source of texts."""

    @property
    def provides(self) -> frozenset[Any]:
        return frozenset({"text"})


class OneKey(Texts):
    """Calls all samples the same."""

    breaks = "samples"
    made_by = "OneKey"


class Varies(Texts):
    """Varies without a generator."""

    breaks = "repeatable"
    made_by = "Varies"


class Endless(Texts):
    """Has samples behind its last."""

    breaks = "ends"
    made_by = "Endless"


class EvenFrozen(Broken, OptimizerSpec):
    """Holds what is not to learn."""

    breaks = "parameters"
    made_by = "EvenFrozen"
    learning_rate: PositiveFloat = 0.1
    """The rate."""


class Unscaled(Broken, OptimizerSpec):
    """Has a rate of its own."""

    breaks = "steps"
    made_by = "Unscaled"
    learning_rate: PositiveFloat = 0.1
    """The rate."""


class Counting(Broken, ScheduleSpec):
    """Counts how often it was asked."""

    breaks = "factors"
    made_by = "Counting"


class WritesRecords(Broken, ObserverSpec):
    """Writes into what it sees."""

    breaks = "watches"
    made_by = "WritesRecords"


class LeavesEvalMode(Broken, EvaluationSpec):
    """Leaves the model in another mode."""

    breaks = "measures"
    made_by = "LeavesEvalMode"


def _below(kind: type[Broken]) -> list[type[Broken]]:
    return [kind, *(each for below in kind.__subclasses__() for each in _below(below))]


BROKEN: list[type[Broken]] = [kind for kind in _below(Broken) if "breaks" in vars(kind)]
"""Every broken part."""
