"""The specs of evaluations: what a run measures with the model that it trained."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveInt

from ..data.specs import SourceSpec
from ..part import PartSpec, Slot

if TYPE_CHECKING:
    from .retrieval import Retrieval


class EvaluationSpec(PartSpec):
    """An evaluation: a model and its processor to named numbers."""

    kind: ClassVar[str] = "evaluation"

    @abstractmethod
    def build(self) -> Retrieval:
        """The evaluation."""


class RetrievalSpec(EvaluationSpec):
    """Zero-shot retrieval among the pairs of a source, both ways (FLAVA section 4.2)."""

    type: Literal["flava.retrieval"] = "flava.retrieval"
    source: Slot[SourceSpec]
    """The pairs to find again."""
    batch_size: PositiveInt = 256
    """Pairs embedded at once."""

    def build(self) -> Retrieval:
        from .retrieval import Retrieval

        return Retrieval(source=self.source.build(), batch_size=self.batch_size)
