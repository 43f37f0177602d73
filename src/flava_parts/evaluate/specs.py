"""The specs of evaluations: what a run measures with the model that it trained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Gt, Lt, MinLen
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from ..data.sources.specs import SourceSpec
from ..errors import InputError, Problem
from ..facts import Modality
from ..part import PartSpec, Slot, fault

if TYPE_CHECKING:
    from ..wiring import Wiring
    from .evaluation import Evaluation
    from .probe import LinearProbe
    from .retrieval import Retrieval
    from .zero_shot import ZeroShot


DRAWN_ANYWAY = ("losses", "masks")
"""The pictures that a run's folder has whatever is evaluated; those of evaluations are called after their names."""


class EvaluationSpec(PartSpec):
    """An evaluation: a model and its processor to named numbers."""

    kind: ClassVar[str] = "evaluation"

    @abstractmethod
    def build(self) -> Evaluation:
        """The evaluation."""


class RetrievalSpec(EvaluationSpec):
    """Zero-shot retrieval among the pairs of a source, both ways (FLAVA section 4.2)."""

    type: Literal["flava.retrieval"] = "flava.retrieval"
    source: Slot[SourceSpec]
    """The pairs to find again."""
    batch_size: PositiveInt = 256
    """Pictures, or texts, embedded at once."""

    @model_validator(mode="after")
    def _source_has_pairs(self) -> RetrievalSpec:
        _need(self.source, "source", "image", "text")
        return self

    def problems(self, wiring: Wiring) -> Iterable[Problem]:
        return _space_problems(wiring)

    def build(self) -> Retrieval:
        from .retrieval import Retrieval

        return Retrieval(source=self.source.build(), batch_size=self.batch_size)


class ZeroShotSpec(EvaluationSpec):
    """Zero-shot classification: each picture to the class whose descriptions it is nearest to (FLAVA section 4.2)."""

    type: Literal["flava.zero_shot"] = "flava.zero_shot"
    source: Slot[SourceSpec]
    """The labelled pictures."""
    templates: Annotated[tuple[str, ...], Field(strict=False), MinLen(1)] = ("a photo of {}",)
    """Descriptions of a class, with {} where its name goes; their vectors are averaged."""
    batch_size: PositiveInt = 256
    """Pictures, or texts, embedded at once."""

    @model_validator(mode="after")
    def _templates_have_a_place_for_the_name(self) -> ZeroShotSpec:
        for template in self.templates:
            if "{}" not in template:
                raise fault("templates", f"{template!r} has no {{}} where the name of a class goes")
        _need(self.source, "source", "image")
        return self

    def problems(self, wiring: Wiring) -> Iterable[Problem]:
        yield from _space_problems(wiring)
        yield from _class_problems(self.source, "source")

    def build(self) -> ZeroShot:
        from .zero_shot import ZeroShot

        return ZeroShot(
            source=self.source.build(),
            classes=self.source.classes,
            templates=self.templates,
            batch_size=self.batch_size,
        )


class ProbeSpec(EvaluationSpec):
    """The linear probe: logistic regression on the frozen image encoder's summaries, by L-BFGS (FLAVA section 4.2)."""

    type: Literal["flava.probe"] = "flava.probe"
    train: Slot[SourceSpec]
    """The labelled pictures that the linear classifier is fitted on."""
    test: Slot[SourceSpec]
    """The labelled pictures that it is measured on."""
    c: PositiveFloat | None = None
    """Inverse strength of the penalty on squared weights; chosen on a part of the training pictures if not given."""
    validation: Annotated[float, Gt(0), Lt(1)] = 0.2
    """The share of each class's training pictures that c is chosen on."""
    batch_size: PositiveInt = 256
    """Pictures encoded at once."""

    @model_validator(mode="after")
    def _sources_have_pictures(self) -> ProbeSpec:
        _need(self.train, "train", "image")
        _need(self.test, "test", "image")
        return self

    def problems(self, wiring: Wiring) -> Iterable[Problem]:
        yield from _class_problems(self.train, "train")
        yield from _class_problems(self.test, "test")

    def build(self) -> LinearProbe:
        from .probe import LinearProbe

        return LinearProbe(
            train=self.train.build(),
            test=self.test.build(),
            train_classes=self.train.classes,
            test_classes=self.test.classes,
            c=self.c,
            validation=self.validation,
            batch_size=self.batch_size,
        )


def _need(source: SourceSpec, field: str, *modalities: Modality) -> None:
    if missing := [modality for modality in modalities if modality not in source.provides]:
        raise fault(field, f"{source.type_name()} has no {' and no '.join(missing)}")


def _space_problems(wiring: Wiring) -> Iterator[Problem]:
    if not wiring.shares_space:
        yield Problem(
            (),
            "compares images with texts, but the model has no contrastive loss, which gives both a shared space; "
            "add one, or leave this evaluation out with null",
            see=("model", "losses"),
        )


def _class_problems(source: SourceSpec, field: str) -> Iterator[Problem]:
    try:
        labelled = bool(source.classes)
    except InputError:
        return  # the samples, whose folders name the classes, need not be there before the run
    if not labelled:
        yield Problem((field,), f"the pictures of {source.type_name()} have no classes; take a source with labels")
