"""The precision of matrix products: float32, or a shorter type inside autocast; and which is faster here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from ..facts import Reading, Streams
from .ranks import Ranks

Choice = Literal["fp32", "bf16", "fp16"]

_DTYPES: dict[Choice, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_SUMMARIES = frozenset(
    {Streams.IMAGE_SUMMARY, Streams.TEXT_SUMMARY, Streams.FUSED_SUMMARY, Streams.MATCH_LABELS, Streams.MATCHED}
)
PROBE_SIDE = 512
"""`faster` multiplies square matrices of this side, about the size of a small encoder's; 20 ms in all."""


class Precision:
    """How a run multiplies matrices: the context of its forward passes, and what keeps gradients in fp16 from zero.

    In fp16 losses are scaled up before the backward pass and gradients down after it (Micikevicius et al. 2018). A
    gradient that is not finite then means that the scale was too large: the update is left out and the scale halved.
    """

    def __init__(self, choice: Choice = "fp32", device: torch.device | None = None, *, keep_casts: bool = True) -> None:
        """``keep_casts``: whether weights in the shorter type stay for the whole forward pass, since several passes use
        them, or are made for each use; then recomputed blocks leave none."""
        self.device = device or torch.device("cpu")
        self._keep_casts = keep_casts
        self._choose(choice)

    def _choose(self, choice: Choice) -> None:
        self.choice: Choice = choice
        self.dtype = _DTYPES[choice]
        self._scaler = GradScaler(self.device.type, enabled=choice == "fp16")

    def autocast(self) -> AbstractContextManager[Any]:
        """The context for forward passes. In float32 it changes nothing."""
        enabled = self.choice != "fp32"
        return torch.autocast(self.device.type, self.dtype, enabled=enabled, cache_enabled=self._keep_casts)

    def scale(self, loss: Tensor) -> Tensor:
        """What the backward pass begins from."""
        return self._scaler.scale(loss)

    def unscale(self, optimizer: Optimizer) -> None:
        """Give gradients their own size again."""
        self._scaler.unscale_(optimizer)

    def step(self, optimizer: Optimizer) -> bool:
        """Make an update. False if it was left out because the scale was too large."""
        before = self._scaler.get_scale()
        self._scaler.step(optimizer)
        self._scaler.update()
        return self._scaler.get_scale() >= before

    def leave_out(self) -> None:
        """Make no update of this batch."""
        self._scaler.update()

    @property
    def may_overflow(self) -> bool:
        """Whether a gradient that is not finite is nothing to worry about: a smaller scale will do."""
        return self.choice == "fp16" and self._scaler.get_scale() > 1

    def facts(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"choice": self.choice, "scaler": self._scaler.state_dict()}

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Become what `facts` told; what was timed before is not timed again."""
        if facts:
            self._choose(facts["choice"])
            if facts["scaler"]:
                self._scaler.load_state_dict(dict(facts["scaler"]))


def fastest(device: torch.device, ranks: Ranks) -> Choice:
    """``bf16`` if products of matrices are faster in it than in float32 on this device, else ``fp32``.

    Timed, because it depends: a CPU without instructions for bf16 can be a hundred times slower in it. Of several
    processes the first decides, for all have to do the same.
    """
    shorter = product_seconds(torch.bfloat16, device) < product_seconds(torch.float32, device)
    return "bf16" if ranks.of_first(shorter) else "fp32"


def product_seconds(dtype: torch.dtype, device: torch.device, side: int = PROBE_SIDE, repeats: int = 3) -> float:
    """The shortest of some times of a product of two matrices (side, side), in seconds."""
    matrix = torch.ones(side, side, dtype=dtype, device=device)
    times: list[float] = []
    for _ in range(repeats + 1):  # the first is warm-up, and as slow as anything
        began = time.perf_counter()
        torch.mm(matrix, matrix)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def keep_exact(model: nn.Module) -> None:
    """Have norms, and losses over summaries, work in float32 whatever autocast is around them.

    Losses over tokens have a head that is most of their work and runs in the shorter type; cross-entropy itself is
    float32 in autocast. Softmax is so inside torch's attention. A codebook sees to itself.
    """
    readings: dict[str, Reading] = getattr(model, "readings", {})
    losses: dict[str, nn.Module] = dict(getattr(model, "losses", nn.ModuleDict()).items())
    exact = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    exact += [loss for name, loss in losses.items() if readings[name].streams <= _SUMMARIES]
    for module in exact:
        module.forward = partial(_exactly, module.forward)


def _exactly(forward: Any, *arguments: Any, **named: Any) -> Any:
    """``forward`` outside autocast, on float32."""
    tensors = [value for value in _leaves(arguments) if isinstance(value, Tensor)]
    with torch.autocast(tensors[0].device.type, enabled=False):
        return forward(*map(_widened, arguments), **named)


def _leaves(arguments: tuple[Any, ...]) -> list[Any]:
    return [leaf for value in arguments for leaf in (value.values() if isinstance(value, dict) else (value,))]


def _widened(value: Any) -> Any:
    """A tensor, or a dict of tensors, with what is floating point as float32."""
    if isinstance(value, dict):
        return {name: _widened(entry) for name, entry in value.items()}
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
