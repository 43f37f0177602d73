"""The laws of heads."""

from __future__ import annotations

from typing import Any

import torch

from .law import LawError, law
from .modules import BATCH, MODULE, ModuleBench, Tensors


class HeadBench(ModuleBench):
    """A head, on summaries."""

    kind = "head"
    width, classes = 8, 3

    def given(self) -> dict[str, Any]:
        return {"width": self.width, "classes": self.classes}

    def inputs(self, batch: int = BATCH, seed: int = 0) -> Tensors:
        return {"summary": torch.randn(batch, self.width, generator=torch.Generator().manual_seed(seed))}

    def run(self, part: Any, inputs: Tensors) -> Tensors:
        return {"logits": part(inputs["summary"])}

    def stated(self, batch: int) -> dict[str, tuple[int, ...]]:
        return {"logits": (batch, self.classes)}


@law("derive the module from `Classifier`, or give it `loss(logits, labels)` and `probabilities(logits)`")
def answers(bench: HeadBench) -> None:
    """Probabilities are from 0 to 1, of one class each add up to 1; the loss falls as logits near the labels."""
    labels = torch.eye(bench.classes, dtype=torch.bool)
    sure = labels.float() * 8 - 4
    probabilities = bench.part.probabilities(sure)
    if not (((probabilities >= 0) & (probabilities <= 1)).all() and torch.equal(probabilities > 0.5, labels)):
        raise LawError(f"logits {sure.tolist()} have the probabilities {probabilities.tolist()}")
    if not bench.spec.multi_label and not torch.allclose(probabilities.sum(1), torch.ones(bench.classes)):
        raise LawError("the probabilities of a sample do not add up to 1")
    right, wrong = float(bench.part.loss(sure, labels)), float(bench.part.loss(-sure, labels))
    if not right < wrong:
        raise LawError(f"logits that are right lose {right:.3g}, wrong ones {wrong:.3g}")


HeadBench.laws = (*MODULE, answers)
