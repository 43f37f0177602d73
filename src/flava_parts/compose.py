"""From spec to model: one call a slot, in reading order."""

from __future__ import annotations

import torch
from torch import nn

from .errors import SpecError
from .facts import Vocab
from .model import FlavaForPreTraining
from .spec import FlavaSpec
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
    with torch.device(device if device is not None else torch.get_default_device()):
        return FlavaForPreTraining(
            image_encoder=spec.image_encoder.build(),
            text_encoder=spec.text_encoder.build(),
            fusion=spec.fusion.build(image=wiring.image, text=wiring.text) if spec.fusion else None,
            codebook=spec.codebook.build() if spec.codebook else None,
            image_masker=spec.image_masker.build(grid=wiring.image.grid) if spec.image_masker else None,
            text_masker=spec.text_masker.build(vocab=wiring.vocab) if spec.text_masker else None,
            pair_masker=spec.pair_masker.build() if spec.pair_masker else None,
            losses=nn.ModuleDict({name: loss.build(wiring=wiring) for name, loss in spec.losses.items()}),
            readings={name: loss.reading for name, loss in spec.losses.items()},
            special_ids=wiring.vocab.special,
            spec=spec,
        )
