"""How well a classifier does on labelled samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import InputError
from .mode import evaluating

if TYPE_CHECKING:
    from ..data.labelled import HeldOut
    from ..heads.classification import FlavaForClassification


def measure(model: FlavaForClassification, samples: HeldOut, *, batch_size: int) -> dict[str, float]:
    """What a classifier gets right: ``accuracy``, or ``mean_average_precision`` of a multi-label head; and ``loss``.

    ``bad`` says how many samples could not be used, if there are any. Samples are not augmented; no random numbers are
    drawn, and the model is left as it was. Raises `InputError` if there is no sample that can be used, or, for a
    multi-label head, none that belongs to a class.
    """
    device = next(model.parameters()).device
    logits: list[Tensor] = []
    labels: list[Tensor] = []
    with evaluating(model), torch.inference_mode():
        for tensors in samples.batches(batch_size):
            labels.append(tensors.pop("labels"))
            logits.append(model(**{name: tensor.to(device) for name, tensor in tensors.items()}).logits.float().cpu())
        if not logits:
            raise InputError("data.held_out: there is no sample to measure on")
        said, right = torch.cat(logits), torch.cat(labels)
        loss = float(model.head.loss(said, right))
    name, found = (
        ("mean_average_precision", mean_average_precision) if model.head.multi_label else ("accuracy", accuracy)
    )
    return {name: found(said, right), "loss": loss} | ({"bad": samples.bad} if samples.bad else {})


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """The share of rows (N, V) whose highest score is that of the class that they belong to (N, V) bool."""
    return float(labels.gather(1, scores.argmax(dim=1, keepdim=True)).double().mean())


def mean_average_precision(scores: Tensor, labels: Tensor) -> float:
    """The mean of the average precision of scores (N, V) over the classes that any row belongs to (N, V) bool.

    Average precision is the mean, over the rows of a class, of the precision among all rows that score as high.
    Raises `InputError` if no row belongs to any class.
    """
    found = [average_precision(scores[:, index], labels[:, index]) for index in labels.any(dim=0).nonzero().flatten()]
    if not found:
        raise InputError("data.held_out: no sample belongs to any class, so there is nothing to find")
    return sum(found) / len(found)


def average_precision(scores: Tensor, right: Tensor) -> float:
    """The average precision of scores (N,) where the rows ``right`` (N,) bool are those to be found; equal ones tie."""
    order = scores.argsort(descending=True, stable=True)
    scores, right = scores[order], right[order].double()
    precision = right.cumsum(0) / torch.arange(1, len(right) + 1, dtype=torch.float64)
    last_of_tie = torch.searchsorted(-scores, -scores, right=True) - 1
    return float((precision[last_of_tie] * right).sum() / right.sum())
