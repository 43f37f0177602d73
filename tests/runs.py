"""A run that takes a second: the emoji run with a tiny model and tiny batches."""

from pathlib import Path

import torch

from flava_parts.compose import compose
from flava_parts.loading import load_run
from flava_parts.spec import RunSpec
from flava_parts.train.checkpoints.layout import CHECKPOINTS
from flava_parts.train.checkpoints.saving import Checkpoints
from flava_parts.train.loop import State
from flava_parts.writing import to_yaml

TINY = (
    "train.batch_size=8",
    "train.checkpoint_every=2",
    "data.streams.paired.batch_size=8",
    "data.streams.images.batch_size=8",
    "data.streams.texts.batch_size=8",
    "data.streams.paired.ratio=0.7",
    "data.streams.images.ratio=0.4",
    "data.streams.texts.ratio=0.4",
    "model.image_encoder.width=16",
    "model.image_encoder.depth=1",
    "model.text_encoder.width=16",
    "model.text_encoder.depth=1",
    "model.text_encoder.dropout=0.1",
    "model.fusion.width=16",
    "model.fusion.depth=1",
    "model.codebook.vocab_size=16",
    "model.codebook.iterations=2",
    "train.schedule.warmup=1",
)


def tiny_run(*changes: str, steps: int = 4) -> RunSpec:
    """The emoji run, tiny, with so many steps and further changes."""
    return load_run("flava.emoji", set=[*TINY, f"train.steps={steps}", *changes])


def write_untrained(folder: Path, *changes: str) -> Path:
    """A run's folder with one checkpoint, from before the first step of the tiny run."""
    spec = tiny_run(*changes)
    torch.manual_seed(0)
    model = compose(spec.model, vocab=spec.data.tokenizer.vocab())
    state = State(model=model, optimizer=spec.train.optimizer.build(model=model))
    Checkpoints(folder / CHECKPOINTS, to_yaml(spec)).save(state.tensors(), state.facts())
    return folder
