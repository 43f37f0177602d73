"""From spec to model, for pretraining or for fine-tuning: one call a slot, in reading order."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .errors import Problem, SpecError
from .facts import Vocab
from .finetuning import finetune_problems, summary_width
from .heads.classification import FlavaForClassification
from .layers.initialize import making_on
from .model import FlavaForPreTraining
from .spec import FinetuneSpec, FlavaSpec
from .wiring import problems, wire


def compose(
    spec: FlavaSpec, *, device: torch.device | str | None = None, vocab: Vocab | None = None
) -> FlavaForPreTraining:
    """Build the model that a spec describes.

    ``device`` is where weights are made: any of torch's, ``meta`` included (shapes without memory); torch's default
    if not given. ``vocab`` is the tokenizer's, bert-base-uncased's if not given. Raises SpecError with everything that
    the parts disagree about, and InputError for a weight file that cannot be read.
    """
    wiring = wire(spec, vocab)
    errors = [problem for problem in problems(spec, wiring) if problem.level == "error"]
    if errors:
        raise SpecError(errors)
    with making_on(device if device is not None else torch.get_default_device()):
        return FlavaForPreTraining(
            image_encoder=_encoder(spec.image_encoder.build()),
            text_encoder=_encoder(spec.text_encoder.build()),
            fusion=_encoder(spec.fusion.build(image=wiring.image, text=wiring.text)) if spec.fusion else None,
            codebook=spec.codebook.build() if spec.codebook else None,
            image_masker=spec.image_masker.build(grid=wiring.image.grid) if spec.image_masker else None,
            text_masker=spec.text_masker.build(vocab=wiring.vocab) if spec.text_masker else None,
            pair_masker=spec.pair_masker.build() if spec.pair_masker else None,
            losses=nn.ModuleDict({name: loss.build(wiring=wiring) for name, loss in spec.losses.items()}),
            readings={name: loss.reading for name, loss in spec.losses.items()},
            stream_passes=wiring.stream_passes,
            special_ids=wiring.vocab.special,
            spec=spec,
        )


def compose_classifier(spec: FinetuneSpec, *, device: torch.device | str | None = None) -> FlavaForClassification:
    """Build the model that a fine-tuning trains: the parts that its head reads, with random weights, and the head.

    ``device`` is as for `compose`. Raises SpecError with everything that the parts disagree about, and if the spec
    does not say its model.
    """
    errors = [problem for problem in finetune_problems(spec) if problem.level == "error"]
    if spec.model is None:
        errors.append(Problem(("model",), "is missing; fine-tuning takes it from a pretrained model"))
    if errors or spec.model is None:
        raise SpecError(errors)
    model, slots = spec.model, spec.head.slots
    classes = spec.data.classes or spec.data.train.classes
    fusion = model.fusion if "fusion" in slots else None
    with making_on(device if device is not None else torch.get_default_device()):
        return FlavaForClassification(
            image_encoder=_encoder(model.image_encoder.build()) if "image_encoder" in slots else None,
            text_encoder=_encoder(model.text_encoder.build()) if "text_encoder" in slots else None,
            fusion=_encoder(fusion.build(image=model.image_encoder.tokens, text=model.text_encoder.tokens))
            if fusion
            else None,
            head=spec.head.build(width=summary_width(model, spec.head.reads), classes=len(classes)),
            frozen=spec.train.freeze,
            classes=classes,
            spec=spec,
        )


def _encoder(module: nn.Module) -> Any:
    """A module as models take it: they are typed with FLAVA's own, though a plugin's need only have their forward."""
    return module
