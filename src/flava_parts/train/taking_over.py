"""What a fine-tuning takes over from the pretrained model: what its spec leaves open, and the weights."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from pydantic import ValidationError

from ..data.specs import LabelledDataSpec
from ..errors import InputError, Problem, SpecError
from ..heads.classification import FlavaForClassification
from ..interop.stored import Stored
from ..model import FlavaForPreTraining
from ..part import Spec
from ..spec import FinetuneSpec, FlavaSpec, RunSpec
from .checkpoints.tensor_files import put_tensors
from .own_inputs import processor_beside, tokenizer_of, views_of

S = TypeVar("S", bound=Spec)


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
    """The spec, completed by its pretrained model: its choices where the spec makes none, its tokenizer and views.

    Those are a run's, or of the processor beside a model of transformers, or else FLAVA's own. Raises SpecError if
    there is neither a pretrained model nor one in the spec, and InputError if the two, or what the model reads with,
    do not go together.
    """
    model = spec.model
    if pretrained is not None:
        model = pretrained.model if model is None else merged(model, pretrained.model)
    if model is None:
        raise SpecError([Problem(("pretrained",), "is missing: give the folder of a pretrained model, as --from")])
    spec = spec.model_copy(update={"model": model})
    if pretrained is not None and isinstance(pretrained.spec, RunSpec):
        data = pretrained.spec.data
        return completed(spec, model, spec.data.model_copy(update={"tokenizer": data.tokenizer, "views": data.views}))
    reads_text = "text" in spec.head.needs and spec.data.tokenizer is None
    reads_pictures = "image" in spec.head.needs and spec.data.views is None
    beside = processor_beside(pretrained, model) if reads_text or reads_pictures else None
    tokenizer = tokenizer_of(beside if reads_text else None, pretrained, model)
    views = views_of(beside if reads_pictures else None, pretrained, model)
    return completed(spec, model, spec.data.model_copy(update={"tokenizer": tokenizer, "views": views}))


def merged(written: S, over: S) -> S:
    """A spec with what was written in another: field by field, block by block; another type of part replaces one.

    Raises InputError if the result is none.
    """
    if type(written) is not type(over):
        return written
    changes = {name: _merged(getattr(written, name), getattr(over, name)) for name in written.model_fields_set}
    try:
        return type(over)(**{**dict(over), **changes})
    except ValidationError as error:
        raise InputError(f"model: does not go with the pretrained one: {error.errors()[0]['msg']}") from error


def _merged(new: Any, old: Any) -> Any:
    if isinstance(new, Spec) and isinstance(old, Spec):
        return merged(new, old)
    if isinstance(new, dict) and isinstance(old, dict):
        before, after = cast(dict[str, Any], old), cast(dict[str, Any], new)
        return {**before, **{name: _merged(value, before.get(name)) for name, value in after.items()}}
    return new


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
