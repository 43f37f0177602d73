"""A finetuned model, back from the folder that its run left."""

from __future__ import annotations

from pathlib import Path

from ..compose import compose_classifier
from ..errors import InputError
from ..heads.classification import FlavaForClassification
from ..inputs.processor import Processor
from ..inputs.views import Views
from ..loading import load_finetune
from ..registry import Registry
from ..spec import FinetuneSpec
from ..train.checkpoints.layout import CHECKPOINTS, MODEL, NEEDED, SPEC
from ..train.checkpoints.loading import newest_checkpoint
from ..train.checkpoints.tensor_files import put_tensors, read_tensors


def load_finetuned(folder: str | Path, *, registry: Registry | None = None) -> tuple[FlavaForClassification, Processor]:
    """The model of a fine-tuning's newest checkpoint, or of one checkpoint, in evaluation mode, and its processor.

    ``registry`` holds the parts that its spec may name, those of all installed plugins if not given. Raises InputError
    if the folder is neither, or its tensors do not fit its spec, all of them.
    """
    folder = Path(folder)
    checkpoint = folder if (folder / MODEL).is_file() else newest_checkpoint(folder / CHECKPOINTS, only=NEEDED)
    if checkpoint is None:
        raise InputError(f"{folder}: holds neither a checkpoint nor a fine-tuning that has one")
    spec = load_finetune(checkpoint / SPEC, registry=registry)
    model = compose_classifier(spec)
    put_tensors(read_tensors(checkpoint / MODEL), model, place=str(checkpoint / MODEL))
    return model.eval(), processor_of(spec)


def processor_of(spec: FinetuneSpec) -> Processor:
    """The processor of a fine-tuning whose spec says everything."""
    data, model = spec.data, spec.model
    assert data.tokenizer is not None
    assert data.views is not None
    assert model is not None
    if data.image_size is not None:
        encoder = model.image_encoder.model_copy(update={"image_size": data.image_size})
        model = model.model_copy(update={"image_encoder": encoder})
    return Processor(tokenizer=data.tokenizer.build(), views=Views.of(model, data.views))
