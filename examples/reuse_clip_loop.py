"""The contrastive loss in a CLIP loop: two towers that know nothing of FLAVA, here convolutions and a bag of words."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from flava_parts.data.sources.emoji import Emoji
from flava_parts.inputs.pictures import rgb
from flava_parts.inputs.wordpiece import WordPiece
from flava_parts.losses.contrastive import GlobalContrastive

STEPS = 20

torch.manual_seed(0)
draws = torch.Generator().manual_seed(0)

emoji = Emoji()
samples = [emoji.sample(index) for index in range(0, len(emoji), 8)]
pictures = [np.array(rgb(sample.image, background=255)) for sample in samples]
pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 127.5 - 1  # (N, 3, 64, 64)
ids = WordPiece(length=16)([sample.text for sample in samples]).input_ids  # (N, L)

image_tower = nn.Sequential(
    nn.Conv2d(3, 32, 8, stride=8), nn.GELU(), nn.Conv2d(32, 64, 3, stride=2), nn.GELU(), nn.Flatten()
)  # (B, 3, 64, 64) to (B, 576)
text_tower = nn.EmbeddingBag(30522, 64, padding_idx=0)  # (B, 64)
loss_of = GlobalContrastive(image_width=576, text_width=64, projection=64)
towers = [image_tower, text_tower, loss_of]
optimizer = torch.optim.AdamW([weight for tower in towers for weight in tower.parameters()], lr=1e-3)

for step in range(STEPS):
    rows = torch.randperm(len(pixels), generator=draws)[:32]
    found = loss_of({"image_summary": image_tower(pixels[rows]), "text_summary": text_tower(ids[rows])})
    optimizer.zero_grad()
    found.value.backward()  # over processes too: the loss gathers the rows of all ranks
    optimizer.step()
    print(f"step {step + 1}: loss {found.value.item():.3f}")
