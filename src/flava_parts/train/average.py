"""The moving average of a model's weights."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

AVERAGE = "average"
"""The group of a checkpoint's tensors that holds it."""

COUNT = "updates"


def skeleton(model: nn.Module) -> nn.Module:
    """A copy of a model whose parameters have no memory, on the meta device."""
    blank = {id(weight): nn.Parameter(torch.empty_like(weight, device="meta")) for weight in model.parameters()}
    return deepcopy(model, blank)


def moving_average(model: nn.Module, decay: float, copy: nn.Module | None = None) -> AveragedModel:
    """A copy of a model whose weights become ``decay`` of themselves and the rest of the model's at each update.

    The first update copies. The codebook, which no update reaches, is the model's own. ``copy`` is the `skeleton` of a
    model that has since been cut into parts, and is no more to be copied: then each process has its parts of the
    average.
    """
    average = AveragedModel(model if copy is None else copy, multi_avg_fn=get_ema_multi_avg_fn(decay))
    for name, weight in () if copy is None else model.named_parameters():
        path, _, leaf = name.rpartition(".")
        setattr(average.module.get_submodule(path), leaf, nn.Parameter(weight.detach().clone()))
    if hasattr(model, "codebook"):
        average.module.codebook = model.codebook
    return average


def average_tensors(average: AveragedModel) -> dict[str, Tensor]:
    """Its weights by the names that they have in the model, and how many updates it was told of."""
    weights = {name: weight.detach() for name, weight in average.module.named_parameters()}
    return {COUNT: average.n_averaged, **weights}
