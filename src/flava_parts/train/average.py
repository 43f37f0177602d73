"""The moving average of a model's weights."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

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
    weights = {name: weight.detach() for name, weight in average.module.named_parameters()}
    return {COUNT: average.n_averaged, **weights}
