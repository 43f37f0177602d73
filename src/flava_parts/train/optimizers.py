"""Optimisers of a model's trainable parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import AdamW, Muon, Optimizer

from ..heads.specs import ENCODERS

HIDDEN = "hidden"
"""The key of an optimiser's group under which stands whether its matrices are orthogonalised."""


def adamw(
    *,
    model: nn.Module,
    learning_rate: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.1,
) -> AdamW:
    """AdamW over the parameters that ask for gradients; only matrices of linear and convolution layers decay."""
    decayed, plain = split(trainable(model), matrices(model.modules()))
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return AdamW(groups, lr=learning_rate, betas=betas, eps=eps, fused=True)


def muon(
    *,
    model: nn.Module,
    learning_rate: float = 1e-3,
    momentum: float = 0.95,
    nesterov: bool = True,
    iterations: int = 5,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.1,
) -> MuonWithAdamW:
    """Muon over the matrices of the encoders' and the fusion's linear layers, AdamW over all else that is trained.

    Muon's updates are scaled to the size of AdamW's (Liu et al. 2025, Moonlight), so that both have one learning rate.
    """
    hidden_layers = [layer for name, layer in model.named_modules() if name.partition(".")[0] in ENCODERS]
    linear = [layer for layer in hidden_layers if isinstance(layer, nn.Linear)]
    hidden, rest = split(trainable(model), matrices(linear))
    decayed, plain = split(rest, matrices(model.modules()))
    return MuonWithAdamW(
        Muon(
            [{"params": hidden, HIDDEN: True}],
            lr=learning_rate,
            momentum=momentum,
            nesterov=nesterov,
            ns_steps=iterations,
            weight_decay=weight_decay,
            adjust_lr_fn="match_rms_adamw",
        ),
        AdamW(
            [
                {"params": decayed, "weight_decay": weight_decay, HIDDEN: False},
                {"params": plain, "weight_decay": 0.0, HIDDEN: False},
            ],
            lr=learning_rate,
            betas=betas,
            eps=eps,
            fused=True,
        ),
    )


class MuonWithAdamW(Optimizer):
    """One optimiser to whoever holds it: its groups and averages are those of a Muon and an AdamW together."""

    def __init__(self, muon: Muon, adamw: AdamW) -> None:
        self._parts: tuple[tuple[bool, Optimizer], ...] = ((True, muon), (False, adamw))
        super().__init__([*muon.param_groups, *adamw.param_groups], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update of every parameter that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for hidden, optimizer in self._parts:
            # Groups may have been split, and a checkpoint brings new ones: this object's are the ones that count.
            optimizer.param_groups = [group for group in self.param_groups if group[HIDDEN] is hidden]
            optimizer.state = self.state
            weights = (weight for group in optimizer.param_groups for weight in group["params"])
            if hidden and any(isinstance(weight, DTensor) for weight in weights):
                _step_in_parts(optimizer)
            else:
                optimizer.step()
        return loss


def _step_in_parts(muon: Optimizer) -> None:
    """Muon's step of matrices that each of several ranks has a part of: each orthogonalises the whole for itself.

    torch's own step gives the same, but DTensor then sends something for every product of every iteration, a dozen
    times a matrix instead of once.
    """
    for group in muon.param_groups:
        for part in group["params"]:
            if part.grad is None:
                continue
            average = muon.state[part].setdefault("momentum_buffer", torch.zeros_like(part.grad))
            average.lerp_(part.grad, 1 - group["momentum"])
            ahead = part.grad.lerp(average, group["momentum"]) if group["nesterov"] else average
            whole = ahead.full_tensor()
            update = nn.Parameter(torch.zeros_like(whole))
            update.grad = whole
            alike = {name: group[name] for name in ("lr", "ns_steps", "ns_coefficients", "eps", "adjust_lr_fn")}
            Muon([update], momentum=0.0, nesterov=False, weight_decay=0.0, **alike).step()
            part.mul_(1 - group["lr"] * group["weight_decay"])
            part.add_(distribute_tensor(update.detach(), part.device_mesh, part.placements, src_data_rank=None))


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that ask for gradients."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def matrices(layers: Iterable[nn.Module]) -> set[int]:
    """The identities of the weights of linear and convolution layers, which multiply; no norm, bias or embedding."""
    return {id(layer.weight) for layer in layers if isinstance(layer, nn.Linear | nn.Conv2d)}


def split(parameters: Iterable[nn.Parameter], chosen: set[int]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Those whose identity was chosen, and the others, both in order."""
    both: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for parameter in parameters:
        both[id(parameter) not in chosen].append(parameter)
    return both
