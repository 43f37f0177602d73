"""The moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..errors import InputError

AVERAGE = "average"
"""The group of a checkpoint's tensors that holds it."""

COUNT = "updates"


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of a model whose weights become ``decay`` of themselves and the rest of the model's at each update.

    The first update copies. The codebook, which no update reaches, is the model's own.
    """
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    if hasattr(model, "codebook"):
        average.module.codebook = model.codebook
    return average


def average_tensors(average: AveragedModel) -> dict[str, Tensor]:
    """Its weights by the names that they have in the model, and how many updates it was told of."""
    return {COUNT: average.n_averaged, **dict(average.module.named_parameters())}


def put_average(tensors: Mapping[str, Tensor], average: AveragedModel, *, place: str) -> None:
    """Put back what `average_tensors` gave.

    Raises InputError, which begins with ``place``, if a tensor is missing, unexpected or misshapen.
    """
    own = average_tensors(average)
    for name in own.keys() | tensors.keys():
        if name not in own or name not in tensors or own[name].shape != tensors[name].shape:
            raise InputError(f"{place}: does not fit the spec: {name} is missing, unexpected or of another shape")
    for name, tensor in tensors.items():
        own[name].detach().copy_(tensor)
