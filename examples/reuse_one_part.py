"""Three parts of FLAVA in a plain torch loop: masked image modelling, with neither YAML nor the rest of the model."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from flava_parts.codebooks.kmeans import KMeansCodebook
from flava_parts.data.sources.emoji import Emoji
from flava_parts.encoders.vision import VisionTransformer
from flava_parts.facts import Grid
from flava_parts.inputs.pictures import rgb
from flava_parts.maskers.block import BlockMasker

STEPS = 20

torch.manual_seed(0)
draws = torch.Generator().manual_seed(0)

emoji = Emoji()
pictures = [np.array(rgb(emoji.sample(index).image, background=255)) for index in range(0, len(emoji), 8)]
pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255  # (N, 3, 64, 64)

vit = VisionTransformer(image_size=64, patch_size=8, width=96, depth=2, heads=3, init_std=0.08)
masker = BlockMasker(grid=Grid(8, 8), total=24, min_group=4)
codebook = KMeansCodebook(image_size=64, patch_size=8, vocab_size=64).fit(pixels, draws)
head = nn.Linear(96, 64)
optimizer = torch.optim.AdamW([*vit.parameters(), *head.parameters()], lr=2e-3)

for step in range(STEPS):
    batch = pixels[torch.randperm(len(pixels), generator=draws)[:64]]
    masked = masker(len(batch), draws)  # (B, P) bool, true where a patch is hidden
    codes = codebook(batch)  # (B, P) int64
    patches = vit(batch, masked).last_hidden_state[:, vit.prefix :]  # (B, P, D)
    loss = nn.functional.cross_entropy(head(patches[masked]), codes[masked])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step + 1}: loss {loss.item():.3f}")
