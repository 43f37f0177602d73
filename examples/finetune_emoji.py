"""Fine-tune a model of the emoji run to name the group of a drawing with its caption, and measure.

    flava-parts train --out runs/mine
    python finetune_emoji.py [PRETRAINED] [STEPS] [OUT]

A logistic regression on the raw pixels stands beside it. It reads no captions, so the two do not compare like with
like: each held-out caption was learnt with the other vendor's drawing. The probe's 16 pixels a side and its C do best
on the held-out drawings, among 16, 32 and 64 pixels and C from 0.001 to 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

import flava_parts as fp
from flava_parts.data.sources.emoji import Emoji
from flava_parts.inputs.pictures import rgb
from flava_parts.train.finetune import finetune

GIVEN = dict(enumerate(sys.argv))
PRETRAINED, STEPS, OUT = GIVEN.get(1, "runs/mine"), GIVEN.get(2, 150), GIVEN.get(3, "runs/groups")
SIDE = 16


def pixels_and_groups(emoji: Emoji) -> tuple[np.ndarray, list[int]]:
    """Pixels (N, 768) over white, from 0 to 1, and the group of each of N drawings."""
    samples = [emoji.sample(index) for index in range(len(emoji))]
    pictures = [np.asarray(rgb(sample.image, 255).resize((SIDE, SIDE))) for sample in samples]
    return np.stack(pictures).reshape(len(samples), -1) / 255, [sample.labels[0] for sample in samples]


spec = fp.load_finetune("flava.emoji_groups", set=[f"pretrained='{PRETRAINED}'", f"train.steps={STEPS}"])
outcome = finetune(spec, Path(OUT))
print(f"finetuned: {outcome.metrics['held_out/accuracy']:.4f}")
probe = LogisticRegression(C=0.1, max_iter=1000).fit(*pixels_and_groups(Emoji()))
print(f"linear probe on raw pixels: {probe.score(*pixels_and_groups(Emoji(split='held_out'))):.4f}")
