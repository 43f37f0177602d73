"""Trained models, back from wherever they are: our own folders, transformers', or the hub."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..inputs.pretrained import TOKENIZER, WORDS, read_processor
from ..inputs.processor import Processor
from ..loading import load_any
from ..model import FlavaForPreTraining
from ..spec import FinetuneSpec, RunSpec
from ..train.checkpoints.layout import SPEC
from ..train.checkpoints.tensor_files import misfits
from .config import CONFIG, spec_of_config
from .finetuned import processor_of
from .stored import Stored, folder_of, open_stored
from .tensors import read_json

if TYPE_CHECKING:
    from ..codebooks.codebook import Codebook
    from ..encoders.text import TextTransformer
    from ..encoders.vision import VisionTransformer
    from ..fusion.transformer import FusionTransformer
    from ..registry import Registry

_SHOWN = 8


def load_pretrained(
    source: str | Path, *, revision: str | None = None, strict: bool = True, registry: Registry | None = None
) -> FlavaForPreTraining | Any:
    """The model of a source, in evaluation mode, its weights mapped from their files.

    Args:
        source: a run's folder (its newest checkpoint), a checkpoint's, one that `save_pretrained` wrote, one of
            transformers' layout, a safetensors file beside its config, or an ``owner/name`` of the Hugging Face hub.
        revision: branch, tag or commit on the hub.
        strict: whether a tensor that is missing, unexpected or of another shape is an error. Otherwise a warning lists
            them, and what is missing starts as in a new model.
        registry: the parts that its spec may name, those of all installed plugins if not given.

    A `FlavaModel` of transformers is a model whose only loss is the contrastive one. A part that was saved alone, an
    encoder or a codebook, comes back as `load_part` gives it. Weights keep the precision they were saved in.

    Raises InputError if the source is no FLAVA, cannot be read or does not fit, and SpecError if its spec is wrong.
    """
    return load_stored(open_stored(source, revision, registry), strict=strict)


def load_stored(stored: Stored, *, strict: bool = True) -> Any:
    """The module of a source that is open already; otherwise as `load_pretrained`."""
    return _filled(stored.compose("meta"), stored, strict=strict)


@overload
def load_part(
    source: str | Path, slot: Literal["image_encoder"], *, revision: str | None = None, registry: Registry | None = None
) -> VisionTransformer: ...
@overload
def load_part(
    source: str | Path, slot: Literal["text_encoder"], *, revision: str | None = None, registry: Registry | None = None
) -> TextTransformer: ...
@overload
def load_part(
    source: str | Path, slot: Literal["fusion"], *, revision: str | None = None, registry: Registry | None = None
) -> FusionTransformer: ...
@overload
def load_part(
    source: str | Path, slot: Literal["codebook"], *, revision: str | None = None, registry: Registry | None = None
) -> Codebook: ...
@overload
def load_part(
    source: str | Path, slot: str, *, revision: str | None = None, registry: Registry | None = None
) -> nn.Module: ...
def load_part(
    source: str | Path, slot: str, *, revision: str | None = None, registry: Registry | None = None
) -> nn.Module:
    """One part of a source, ``image_encoder``, ``codebook``, ``losses.itm``, reading its tensors and no others.

    A fusion that was saved alone was given states that are projected already; its own projections are the identity.
    Raises InputError as `load_pretrained` does, and if there is no such part.
    """
    stored, module = open_stored(source, revision, registry).part(slot)
    part: nn.Module = _filled(module, stored, strict=True)
    return part


def load_processor(source: str | Path, *, revision: str | None = None, registry: Registry | None = None) -> Processor:
    """The processor that goes with the model of `load_pretrained`: a run's, or the one saved beside the weights.

    The weights need not be there. Raises InputError likewise, and if there is none.
    """
    processor = processor_in(folder_of(source, revision), registry)
    if processor is None:
        raise InputError(f"{source}: holds no processor; give a run, or a folder with {TOKENIZER} or {WORDS}")
    return processor


def processor_in(folder: Path, registry: Registry | None = None) -> Processor | None:
    """The processor in a folder, or None if it holds none. Raises InputError if it cannot be read."""
    spec = load_any(folder / SPEC, registry=registry) if (folder / SPEC).is_file() else None
    if isinstance(spec, RunSpec):
        return Processor.of(spec.model, spec.data)
    if isinstance(spec, FinetuneSpec):
        return processor_of(spec)
    if not any((folder / name).is_file() for name in (TOKENIZER, WORDS)):
        return None
    if spec is None and (folder / CONFIG).is_file():
        config = read_json(folder / CONFIG)
        spec = spec_of_config(config) if config.get("model_type") == "flava" else None
    return read_processor(folder, spec)


def _filled(module: nn.Module, stored: Stored, *, strict: bool) -> Any:
    """A module of the meta device with a source's tensors in place of its own."""
    tensors = {name: stored.tensors[name] for name in stored.tensors}
    unfit = misfits(tensors, module.state_dict())
    faults = [*unfit.values(), *(f"{name} is unexpected" for name in stored.strangers)]
    if faults and strict:
        raise InputError(f"{stored.place}: does not fit: {_listed(faults)}; strict=False reports this and goes on")
    if faults:
        warnings.warn(f"{stored.place}: does not fit: {'; '.join(faults)}", stacklevel=3)
        module = stored.compose("cpu")
    fitting = {name: value for name, value in tensors.items() if name not in unfit}
    if faults:
        module.to(_precision(fitting))
    module.load_state_dict(fitting, strict=not faults, assign=True)
    return module.eval()


def _precision(tensors: Mapping[str, Tensor]) -> torch.dtype:
    """What weights were saved in, for those that start anew; a codebook is in float32 whatever the rest is."""
    of_weights = (value.dtype for name, value in tensors.items() if not name.startswith("codebook."))
    return next((dtype for dtype in of_weights if dtype.is_floating_point), torch.float32)


def _listed(faults: Collection[str]) -> str:
    shown = list(faults)[:_SHOWN]
    return "; ".join(shown) + (f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else "")
