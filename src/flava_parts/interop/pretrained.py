"""A trained model, back from the folder that its run left."""

from __future__ import annotations

from pathlib import Path

from ..compose import compose
from ..errors import InputError
from ..inputs.processor import Processor
from ..loading import load_run
from ..model import FlavaForPreTraining
from ..train.checkpoint import CHECKPOINTS, MODEL, SPEC, load_model, newest_checkpoint


def load_pretrained(folder: str | Path) -> FlavaForPreTraining:
    """The model of a run's newest checkpoint, or of one checkpoint, in evaluation mode.

    Raises InputError if the folder is neither, or its tensors do not fit its spec, all of them.
    """
    checkpoint = _checkpoint(Path(folder))
    spec = load_run(checkpoint / SPEC)
    model = compose(spec.model, vocab=spec.data.tokenizer.vocab())
    load_model(checkpoint, model)
    return model.eval()


def load_processor(folder: str | Path) -> Processor:
    """The processor that goes with the model of `load_pretrained`. Raises InputError likewise."""
    spec = load_run(_checkpoint(Path(folder)) / SPEC)
    return Processor.of(spec.model, spec.data)


def _checkpoint(folder: Path) -> Path:
    checkpoint = folder if (folder / MODEL).is_file() else newest_checkpoint(folder / CHECKPOINTS)
    if checkpoint is None:
        raise InputError(f"{folder}: holds neither a checkpoint nor a run that has one")
    return checkpoint
