"""The text encoder and the tokenizer in a plain classifier: which of Unicode's groups an emoji's caption belongs to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flava_parts.data.sources.emoji import Emoji
from flava_parts.data.sources.specs import EMOJI_GROUPS
from flava_parts.encoders.text import TextTransformer
from flava_parts.inputs.wordpiece import WordPiece

STEPS = 20


class Classifier(nn.Module):
    """Ids (B, L) and what is real of them (B, L) to logits (B, classes), from the normed first token."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = TextTransformer(width=64, depth=2, heads=2, length=16, init_std=0.08)
        self.answer = nn.Linear(64, classes)

    def forward(self, ids: Tensor, keep: Tensor) -> Tensor:
        return self.answer(self.encoder(ids, keep).last_hidden_state[:, 0])


torch.manual_seed(0)
draws = torch.Generator().manual_seed(0)

emoji = Emoji()
samples = [emoji.sample(index) for index in range(0, len(emoji), 8)]
words = WordPiece(length=16)([sample.text for sample in samples])
labels = torch.tensor([sample.labels[0] for sample in samples])

model = Classifier(len(EMOJI_GROUPS))
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
for step in range(STEPS):
    rows = torch.randperm(len(labels), generator=draws)[:64]
    loss = nn.functional.cross_entropy(model(words.input_ids[rows], words.attention_mask[rows]), labels[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step + 1}: loss {loss.item():.3f}")
