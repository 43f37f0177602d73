"""The fusion encoder over the features of other towers: answering a question about regions of a picture.

The features stand for whatever another project has: regions of a detector and states of a language model. Each picture
shows one thing in one of its sixteen cells; the words ask for its colour or for its shape, four of each.
"""

from __future__ import annotations

import torch
from torch import nn

from flava_parts.facts import Grid, ImageTokens, TextTokens
from flava_parts.fusion.transformer import FusionTransformer

STEPS, BATCH = 40, 64
REGION, WORD, ANSWERS = 32, 24, 4

torch.manual_seed(0)
colours, shapes, questions = torch.randn(ANSWERS, REGION), torch.randn(ANSWERS, REGION), torch.randn(2, WORD)

image = ImageTokens(grid=Grid(4, 4), prefix=0, width=REGION)  # no summary token of its own
text = TextTokens(length=5, width=WORD, vocab_size=1)  # ids are nobody's business here
fusion = FusionTransformer(image=image, text=text, width=64, depth=2, heads=4, init_std=0.1)
answer = nn.Linear(64, ANSWERS)
optimizer = torch.optim.AdamW([*fusion.parameters(), *answer.parameters()], lr=2e-3)

for step in range(STEPS):
    colour, shape, question = (torch.randint(count, (BATCH,)) for count in (ANSWERS, ANSWERS, 2))
    regions = 0.1 * torch.randn(BATCH, 16, REGION)
    regions[torch.arange(BATCH), torch.randint(16, (BATCH,))] += colours[colour] + shapes[shape]
    words = 0.1 * torch.randn(BATCH, 5, WORD)
    words[:, 2] += questions[question]
    keep = torch.tensor([1, 1, 1, 1, 0]).expand(BATCH, -1)  # the last word is padding
    pair = fusion(regions, words, text_keep=keep).last_hidden_state
    summary = pair[:, fusion.layout(patches=16, words=5).summary]
    loss = nn.functional.cross_entropy(answer(summary), torch.where(question == 0, colour, shape))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step + 1}: loss {loss.item():.3f}")
