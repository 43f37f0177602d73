"""What a fine-tuning takes over from the pretrained model: what its spec leaves open, and the weights."""

from __future__ import annotations

from ..data.specs import LabelledDataSpec
from ..errors import InputError, Problem, SpecError
from ..heads.classification import FlavaForClassification
from ..inputs.specs import ViewsSpec, WordPieceSpec
from ..interop.stored import Stored
from ..model import FlavaForPreTraining
from ..spec import FinetuneSpec, FlavaSpec, RunSpec
from .checkpoints.tensor_files import put_tensors

LONGEST = 77
"""Texts are cut to so many tokens where nobody says otherwise, as FLAVA's processors do."""


def completed(spec: FinetuneSpec, model: FlavaSpec, data: LabelledDataSpec) -> FinetuneSpec:
    """The spec with everything said: what it leaves open is ``model``, and the tokenizer and views of ``data``."""
    told = spec.data.model_copy(
        update={
            "classes": spec.data.classes or spec.data.train.classes,
            "tokenizer": spec.data.tokenizer or data.tokenizer,
            "views": spec.data.views or data.views,
        }
    )
    return spec.model_copy(update={"model": spec.model or model, "data": told})


def completed_from(spec: FinetuneSpec, pretrained: Stored | None) -> FinetuneSpec:
    """The spec, completed by its pretrained model: where that is no run, tokenizer and views are FLAVA's own.

    Raises SpecError if there is neither a pretrained model nor one in the spec.
    """
    model = spec.model or (pretrained and pretrained.model)
    if model is None:
        raise SpecError([Problem(("pretrained",), "is missing: give the folder of a pretrained model, as --from")])
    if pretrained is not None and isinstance(pretrained.spec, RunSpec):
        tokenizer, views = pretrained.spec.data.tokenizer, pretrained.spec.data.views
    else:
        tokenizer, views = WordPieceSpec(length=min(LONGEST, model.text_encoder.tokens.length)), ViewsSpec()
    return completed(spec, model, spec.data.model_copy(update={"tokenizer": tokenizer, "views": views}))


def take_over(model: FlavaForClassification, pretrained: FlavaForPreTraining, *, place: str) -> None:
    """Put the weights of a pretrained model into the parts that a classifier has.

    Raises InputError, which begins with ``place``, if a part is missing, or any of its tensors is missing, unexpected
    or misshapen.
    """
    for slot, part in model.named_children():
        if slot == "head":
            continue
        source = getattr(pretrained, slot)
        if source is None:
            raise InputError(f"{place}: has no {slot}, which a head that reads {model.head.reads} needs")
        put_tensors(source.state_dict(), part, place=f"{place}: {slot}")
