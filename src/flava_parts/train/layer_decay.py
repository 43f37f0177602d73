"""Lower learning rates for lower layers: what pretraining learnt first changes least."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.optim import Optimizer

if TYPE_CHECKING:
    from ..heads.classification import FlavaForClassification
    from ..model import FlavaForPreTraining
    from .specs import TrainedSlot

FACTOR = "rate_factor"
"""The key of an optimiser's group under which stands what its learning rate is multiplied by."""

_ABOVE_BLOCKS = ("norm", "pooler")
"""The modules of a transformer that follow its blocks."""


def layer_factors(
    model: FlavaForClassification | FlavaForPreTraining, decay: float, rates: Mapping[TrainedSlot, float] | None = None
) -> dict[str, float]:
    """The factor of the learning rate of each parameter, by name: ``decay`` to the power of its distance to the head,
    times that of its part in ``rates``, if it has one there.

    The head and the norms below it are at distance 0, the last block of the topmost transformer at 1, the block below
    at 2, and so on; the embeddings (or, of a fusion, its projections) below the first block. A part without
    ``blocks`` is one layer (Bao et al. 2022, BEiT, appendix). In fine-tuning the encoders' last blocks come below the
    fusion; in pretraining every encoder has losses of its own, and counts from those.
    """
    by_part: dict[str, float] = dict(rates.items()) if rates else {}
    headed = hasattr(model, "head")
    below_fusion = 0 if model.fusion is None or not headed else _depth(model.fusion) + 1
    base = {"image_encoder": below_fusion, "text_encoder": below_fusion}
    factors: dict[str, float] = {}
    for name, _ in model.named_parameters():
        slot, _, inner = name.partition(".")
        distance = base.get(slot, 0) + _distance(inner, _depth(getattr(model, slot)), slot)
        factors[name] = decay**distance * by_part.get(slot, 1.0)
    return factors


def scale_rates(optimizer: Optimizer, model: nn.Module, factors: Mapping[str, float]) -> None:
    """Split the groups of a new optimiser so that each has one factor, under `FACTOR`; the loop multiplies by it."""
    factor_of = {id(parameter): factors[name] for name, parameter in model.named_parameters()}
    split: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        by_factor: dict[float, list[Tensor]] = {}
        for parameter in group["params"]:
            by_factor.setdefault(factor_of[id(parameter)], []).append(parameter)
        split += [{**group, "params": parameters, FACTOR: factor} for factor, parameters in by_factor.items()]
    optimizer.param_groups[:] = split


def _depth(part: nn.Module) -> int:
    return len(getattr(part, "blocks", ()))


def _distance(inner: str, depth: int, slot: str) -> int:
    """How far below its part's end a parameter lies: 0 after the blocks, ``depth + 1`` before them."""
    if slot in ("head", "losses"):
        return 0
    first, _, rest = inner.partition(".")
    if depth and first == "blocks":
        return depth - int(rest.partition(".")[0])
    return 0 if first in _ABOVE_BLOCKS else depth + 1
