"""Zero-shot classification: pictures to the classes whose descriptions they are nearest to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from .embedding import picture_vectors, pixels_of, text_vectors
from .evaluation import Watch, unwatched
from .labels import LabelledPictures, shares
from .mode import evaluating
from .retrieval import ranks

if TYPE_CHECKING:
    from ..data.sources.source import Source
    from ..inputs.processor import Processor
    from ..model import FlavaForPreTraining

TOPS = (1, 5)
"""A picture counts as right at k if its class is among the k nearest; k below the number of classes."""


@dataclass(frozen=True, slots=True)
class ZeroShotResult:
    """How many pictures were put into their class, as shares from 0 to 1."""

    record: dict[str, float]
    """``pictures/top1`` and, of more than five classes, ``pictures/top5``; ``classes/top1``, the mean over classes."""
    accuracy: dict[str, float]
    """Top 1 of the pictures of each class that has any."""
    pictures: int
    """How many there were."""


class ZeroShot:
    """Zero-shot classification of a source's pictures (Radford et al. 2021, section 3.1; FLAVA section 4.2).

    source: labelled pictures. classes: the names of their classes; underscores are read as spaces. templates: texts
    with ``{}`` in the place of the name; the vectors of a class's texts are averaged. batch_size: pictures, or texts,
    embedded at once.
    """

    def __init__(
        self,
        *,
        source: Source,
        classes: Sequence[str],
        templates: Sequence[str] = ("a photo of {}",),
        batch_size: int = 256,
    ) -> None:
        self.source = source
        self.classes = classes
        self.templates = templates
        self.batch_size = batch_size

    def __call__(self, model: FlavaForPreTraining, processor: Processor, *, watch: Watch = unwatched) -> ZeroShotResult:
        """Embed classes and pictures, and see how near each picture is to its class; ties go to the other classes.

        Draws no random numbers and leaves the model as it was. Raises `InputError` for pictures without exactly one
        label, and ValueError if the model has no contrastive loss.
        """
        pictures = LabelledPictures(self.source, place="zero-shot", classes=self.classes)
        device = next(model.parameters()).device
        with evaluating(model), torch.inference_mode():
            described = self._described(model, processor, device, watch)
            vectors = picture_vectors(
                model.embed_image,
                pixels_of(processor, pictures),
                total=len(pictures),
                device=device,
                batch_size=self.batch_size,
                watch=watch,
            )
            labels = torch.tensor(pictures.labels, device=device)
            found = ranks(vectors, described, labels, torch.arange(len(described), device=device))
        accuracy = shares(found == 1, labels, self.classes)
        tops = [k for k in TOPS if k == 1 or k < len(self.classes)]
        record = {f"pictures/top{k}": float((found <= k).double().mean()) for k in tops}
        return ZeroShotResult(
            record=record | {"classes/top1": fmean(accuracy.values())}, accuracy=accuracy, pictures=len(pictures)
        )

    def _described(
        self, model: FlavaForPreTraining, processor: Processor, device: torch.device, watch: Watch
    ) -> Tensor:
        """A unit vector (V, projection) for each class: the mean of those of its texts."""
        texts = [template.replace("{}", name.replace("_", " ")) for name in self.classes for template in self.templates]
        vectors = text_vectors(
            model, processor, texts, device=device, batch_size=self.batch_size, watch=watch, what="descriptions"
        )
        return F.normalize(vectors.unflatten(0, (len(self.classes), len(self.templates))).mean(dim=1), dim=-1)
