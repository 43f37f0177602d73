"""Pretrain a small image encoder on handwritten digits without their labels, fine-tune it with them, and measure.

    python finetune_digits.py [STEPS] [FOLDER]

The first half of scikit-learn's digits is learnt from and the second half is held out. A logistic
regression on the raw pixels is what there is to beat; its C is the best of six on the held-out half.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import flava_parts as fp
from flava_parts.train.finetune import finetune
from flava_parts.train.run import run

GIVEN = dict(enumerate(sys.argv))
STEPS, FOLDER = int(GIVEN.get(1, 400)), Path(GIVEN.get(2, "digits"))

PRETRAINING = """
model:
  image_encoder: {type: flava.vit, image_size: 16, patch_size: 4, width: 64, depth: 3, heads: 4, init_std: 0.08}
  text_encoder: {type: flava.text, length: 8, width: 8, depth: 1, heads: 1}  # no loss reads it
  fusion: null
  codebook: {type: flava.kmeans, image_size: 8, patch_size: 2, vocab_size: 64}
  image_masker: {type: flava.random, total: 6}
  text_masker: null
  pair_masker: null
  losses: {mim: {type: flava.mim, init_std: 0.08}}
data:
  tokenizer: {type: flava.wordpiece, length: 8}
  views: {crop_scale: [0.7, 1.0], flip: 0}
  streams: {digits: {source: {type: flava.image_folder, folder: %s}, use: images}}
train:
  steps: %d
  batch_size: 128
  optimizer: {type: flava.adamw, learning_rate: 2e-3}
  schedule: {type: flava.warmup_cosine, warmup: 20}
"""

FINETUNING = """
pretrained: %s
head: {type: flava.mlp_classifier, reads: image, hidden: 128, init_std: 0.08}
data:
  train: {type: flava.image_folder, folder: %s}
  held_out: {type: flava.image_folder, folder: %s}
train:
  steps: %d
  batch_size: 128
  layer_decay: 0.9
  optimizer: {type: flava.adamw, learning_rate: 3e-3, weight_decay: 0.01}
  schedule: {type: flava.warmup_cosine, warmup: 20}
"""

digits = load_digits()
half = len(digits.images) // 2
for split, rows in (("train", range(half)), ("held_out", range(half, len(digits.images)))):
    for row in rows:
        path = FOLDER / split / str(digits.target[row]) / f"{row:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[row] / 16 * 255).round().astype(np.uint8)).save(path)

run(fp.load_run(PRETRAINING % (FOLDER / "train", STEPS)), FOLDER / "pretrained")
outcome = finetune(
    fp.load_finetune(FINETUNING % (FOLDER / "pretrained", FOLDER / "train", FOLDER / "held_out", STEPS)),
    FOLDER / "finetuned",
)
probe = LogisticRegression(C=0.01, max_iter=5000).fit(digits.data[:half], digits.target[:half])
print(f"finetuned: {outcome.metrics['held_out/accuracy']:.4f}")
print(f"linear probe on raw pixels: {probe.score(digits.data[half:], digits.target[half:]):.4f}")
