"""The linear probe: how much a linear classifier finds in the frozen image encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import InputError
from .embedding import picture_vectors, pixels_of
from .evaluation import Watch, unwatched
from .labels import LabelledPictures, shares
from .logistic import fit_logistic
from .mode import evaluating

if TYPE_CHECKING:
    from ..data.sources.source import Source
    from ..inputs.processor import Processor
    from ..model import FlavaForPreTraining

EXPONENTS = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)
"""The powers of ten that c is first looked for among."""

STEPS = (1.0, 0.5, 0.25, 0.125)
"""Then so far to both sides of the best so far: in the end eight to a power of ten (Radford et al. 2021, A.3)."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How many held-out pictures the linear classifier put into their class, as shares from 0 to 1."""

    record: dict[str, float]
    """``pictures/top1``; ``classes/top1``, the mean over classes; ``c``, the strength of the fit."""
    accuracy: dict[str, float]
    """Of the pictures of each class that has any."""
    pictures: int
    """How many held-out pictures there were."""


class LinearProbe:
    """Logistic regression on the summaries of the frozen image encoder, by L-BFGS (FLAVA section 4.2).

    train, test: labelled pictures. train_classes, test_classes: the names of their classes, in the order of their
    labels; those of the test are among those of the training. c: inverse strength of the penalty on squared weights;
    chosen on a part of the training pictures if None. validation: the share of each class that this part holds.
    batch_size: pictures encoded at once.
    """

    def __init__(
        self,
        *,
        train: Source,
        test: Source,
        train_classes: Sequence[str],
        test_classes: Sequence[str],
        c: float | None = None,
        validation: float = 0.2,
        batch_size: int = 256,
    ) -> None:
        self.train = train
        self.test = test
        self.train_classes = train_classes
        self.test_classes = test_classes
        self.c = c
        self.validation = validation
        self.batch_size = batch_size

    def __call__(self, model: FlavaForPreTraining, processor: Processor, *, watch: Watch = unwatched) -> ProbeResult:
        """Encode the pictures, fit on all training pictures, and see what is right on the test pictures.

        The model learns nothing and is left as it was; nothing is random. Raises `InputError` for pictures without
        exactly one label, a test class that is not in the training, and where there is nothing to choose ``c`` on.
        """
        train = LabelledPictures(self.train, place="train", classes=self.train_classes)
        test = LabelledPictures(self.test, place="test", classes=self.test_classes)
        if unknown := [name for name in self.test_classes if name not in self.train_classes]:
            raise InputError(f"test: the class {unknown[0]!r} is not among those of train")
        device = next(model.parameters()).device

        def summaries(pixels: Tensor) -> Tensor:
            image = model.encode(pixel_values=pixels, fuse=False).image
            assert image is not None
            return image.last_hidden_state[:, 0]

        def features(pictures: LabelledPictures, what: str) -> Tensor:
            return picture_vectors(
                summaries,
                pixels_of(processor, pictures),
                total=len(pictures),
                device=device,
                batch_size=self.batch_size,
                watch=watch,
                what=what,
            )

        with evaluating(model), torch.inference_mode():
            learnt, asked = features(train, "training pictures"), features(test, "test pictures")
        labels = torch.tensor(train.labels, device=device)
        names = [self.train_classes.index(name) for name in self.test_classes]
        right_labels = torch.tensor([names[label] for label in test.labels], device=device)
        classes = len(self.train_classes)
        c = (
            self.c
            if self.c is not None
            else choose_c(learnt, labels, classes=classes, share=self.validation, watch=watch)
        )
        fitted = fit_logistic(learnt, labels, classes=classes, c=c)
        right = fitted.logits(asked).argmax(dim=1) == right_labels
        accuracy = shares(right, right_labels, self.train_classes)
        return ProbeResult(
            record={
                "pictures/top1": float(right.double().mean()),
                "classes/top1": fmean(accuracy.values()),
                "c": c,
            },
            accuracy=accuracy,
            pictures=len(test),
        )


def choose_c(features: Tensor, labels: Tensor, *, classes: int, share: float, watch: Watch = unwatched) -> float:
    """The ``c`` that does best on a share of each class's features (N, D) after a fit on the others; least if equal.

    Looked for among powers of ten, then in ever smaller steps around the best. Raises `InputError` if no class is
    large enough to give some away.
    """
    held_out = _every(labels, share=share)
    if not held_out.any():
        raise InputError("train: no class has enough pictures to choose c on some of them; give c, or more pictures")
    learnt, learnt_labels, asked, asked_labels = (
        rows for part in (~held_out, held_out) for rows in (features[part], labels[part])
    )
    found: dict[float, float] = {}

    def look(exponents: Sequence[float]) -> float:
        for exponent in exponents:
            fitted = fit_logistic(learnt, learnt_labels, classes=classes, c=10**exponent)
            right = fitted.logits(asked).argmax(dim=1) == asked_labels
            found[exponent] = float(right.double().mean())
            watch("values of c", len(found), len(EXPONENTS) + 2 * len(STEPS))
        return min(found, key=lambda exponent: (-found[exponent], exponent))

    best = look(EXPONENTS)
    for step in STEPS:
        best = look((best - step, best + step))
    return 10**best


def _every(labels: Tensor, *, share: float) -> Tensor:
    """A share of the rows of each label (N,), rounded down and evenly spread over them: (N,) bool."""
    order = labels.argsort(stable=True)
    counts = torch.bincount(labels)
    place = torch.empty_like(order)  # the how-manieth of its label each row is
    place[order] = torch.arange(len(labels), device=labels.device) - (counts.cumsum(0) - counts)[labels[order]]
    return ((place + 1).double() * share).floor() > (place.double() * share).floor()
