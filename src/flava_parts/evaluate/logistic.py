"""Multinomial logistic regression, fitted by L-BFGS."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

ITERATIONS = 1000
"""L-BFGS stops after so many, as in the papers' linear probes (Radford et al. 2021, appendix A.3)."""


class Logistic(NamedTuple):
    """A linear classifier of D features into V classes."""

    weight: Tensor
    """(V, D)."""
    bias: Tensor
    """(V,)."""

    def logits(self, features: Tensor) -> Tensor:
        """Features (N, D) to logits (N, V)."""
        return F.linear(features, self.weight, self.bias)


def fit_logistic(features: Tensor, labels: Tensor, *, classes: int, c: float) -> Logistic:
    """The minimum of ``c`` x summed cross-entropy + half the squared weights, as scikit-learn's LogisticRegression.

    Features (N, D) and labels (N,) below ``classes``; the bias is not penalised. Computed in the features' precision,
    from zero, with nothing random.
    """
    with torch.inference_mode(mode=False), torch.enable_grad():
        features, labels = features.clone(), labels.clone()  # what inference mode made takes part in no gradient
        weight = features.new_zeros(classes, features.shape[1]).requires_grad_()
        bias = features.new_zeros(classes).requires_grad_()
        precise = torch.finfo(features.dtype).eps  # looser, and a fit with next to no penalty ends 4e-4 too early
        optimizer = torch.optim.LBFGS(
            [weight, bias],
            max_iter=ITERATIONS,
            history_size=10,
            tolerance_grad=8 * precise,
            tolerance_change=precise / 1000,
            line_search_fn="strong_wolfe",
        )

        def closure() -> float:
            optimizer.zero_grad()
            penalty = weight.square().sum() / (2 * c * len(features))
            loss = F.cross_entropy(F.linear(features, weight, bias), labels) + penalty
            loss.backward()
            return float(loss.detach())

        optimizer.step(closure)
    return Logistic(weight.detach(), bias.detach())
