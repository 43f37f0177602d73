"""Heads that say which classes a sample belongs to."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.activation import activation as activation_of
from ..layers.initialize import initialize


class Classifier(nn.Module):
    """What all heads share: which summary they read, and how logits are compared with labels.

    ``multi_label`` heads answer for each class on its own; the others choose one.
    """

    def __init__(self, *, reads: str, multi_label: bool) -> None:
        super().__init__()
        self.reads = reads
        self.multi_label = multi_label

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean loss () of logits (B, V) where samples belong to the classes ``labels`` (B, V) bool."""
        if self.multi_label:
            return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
        return F.cross_entropy(logits, labels.int().argmax(dim=1))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits (B, V) to the probability of each class (B, V); of a sample that has one class, they add up to 1."""
        return logits.sigmoid() if self.multi_label else logits.softmax(dim=1)


class LinearClassifier(Classifier):
    """One linear layer."""

    def __init__(
        self,
        *,
        width: int,
        classes: int,
        reads: str = "fused",
        multi_label: bool = False,
        dropout: float = 0.0,
        init_std: float = 0.02,
    ) -> None:
        super().__init__(reads=reads, multi_label=multi_label)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, classes)
        initialize(self, init_std)

    def forward(self, summary: Tensor) -> Tensor:
        """Summaries (B, D) to logits (B, V)."""
        return self.classifier(self.dropout(summary))


class MLPClassifier(Classifier):
    """Two linear layers around a non-linearity (FLAVA section 4)."""

    def __init__(
        self,
        *,
        width: int,
        classes: int,
        reads: str = "fused",
        multi_label: bool = False,
        hidden: int = 1536,
        activation: str = "relu",
        dropout: float = 0.0,
        init_std: float = 0.02,
    ) -> None:
        super().__init__(reads=reads, multi_label=multi_label)
        self.dense = nn.Linear(width, hidden)
        self.activation = activation_of(activation)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, classes)
        initialize(self, init_std)

    def forward(self, summary: Tensor) -> Tensor:
        """Summaries (B, D) to logits (B, V)."""
        return self.classifier(self.dropout(self.activation(self.dense(summary))))
