"""Models to disk: our own format, transformers' or torchmultimodal's; complete or absent."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor

from ..errors import InputError, SpecError
from ..inputs.pretrained import write_processor
from ..inputs.processor import Processor
from ..model import FlavaForPreTraining
from ..part import PartSpec
from ..spec import FlavaSpec, RunSpec
from ..train.checkpoints.atomic_io import new_folder
from ..train.checkpoints.layout import MODEL, SPEC
from ..train.checkpoints.tensor_files import save_tensors
from ..writing import to_yaml
from .config import CONFIG, config_of_part, config_of_spec
from .keys import from_ours, part_from_ours
from .stored import self_contained
from .torchmultimodal import without_counterpart

Format = Literal["flava_parts", "hf", "torchmultimodal"]
TORCH_FILE = "model.pt"


def save_pretrained(
    model: FlavaForPreTraining,
    folder: str | Path,
    format: Format = "flava_parts",
    processor: Processor | None = None,
) -> None:
    """Write a model into a new folder, from which the library that ``format`` names then reads it, bit for bit.

    - ``flava_parts``: ``spec.yaml`` and ``model.safetensors``, for `load_pretrained`.
    - ``hf``: ``config.json`` and ``model.safetensors``, for transformers' ``FlavaForPreTraining.from_pretrained`` (or
      ``FlavaModel``, if the contrastive loss is the only one). transformers always builds three poolers, which no loss
      trains; it starts them itself if the model has none.
    - ``torchmultimodal``: ``model.pt``, the state dict of ``FLAVAForPreTraining``, or of ``FLAVAModel`` likewise.

    A ``processor`` is written beside the weights, in transformers' files.
    Either everything is there in the end or nothing. Raises InputError if the folder holds files already, or the model
    was not composed from a spec; SpecError for what the other library cannot compute.
    """
    if model.spec is None:
        raise InputError("a model is saved with its spec, and this one was built without; use compose(spec)")
    write_model(model, Path(folder), format, model.spec, processor)


def save_part(model: FlavaForPreTraining, slot: str, folder: str | Path) -> None:
    """Write one part of a model, alone, into a new folder of transformers' layout, bit for bit.

    ``image_encoder`` is read by ``FlavaImageModel.from_pretrained``, ``text_encoder`` by ``FlavaTextModel``, ``fusion``
    by ``FlavaMultimodalModel``, without its projections, and ``codebook`` by ``FlavaImageCodebook``; all by
    `load_part`. Raises as `save_pretrained`, and InputError for any other slot or an empty one.
    """
    if model.spec is None:
        raise InputError("a part is saved with its spec, and this model was built without; use compose(spec)")
    part: PartSpec | None = getattr(model.spec, slot, None)
    if part is None and slot in FlavaSpec.model_fields:
        raise InputError(f"the model has no {slot}")
    config = config_of_part(slot, cast(PartSpec, part))
    folder = _new(Path(folder))
    module = model.get_submodule(slot)
    if not getattr(module, "ready", True):
        raise InputError(f"the {slot} has no weights yet; load a model that has them")
    tensors = part_from_ours(module.state_dict(), slot)
    config["dtype"] = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    with _written_to(folder) as unfinished:
        _write_transformers(tensors, config, unfinished)


def write_model(
    model: FlavaForPreTraining, folder: Path, format: str, spec: FlavaSpec | RunSpec, processor: Processor | None
) -> None:
    """Write a model as `save_pretrained` does; in our own format with ``spec``, which may be the run that made it."""
    if format not in get_args(Format):
        raise InputError(f"no format named {format!r}; there are {', '.join(get_args(Format))}")
    folder = _new(folder)
    architecture = spec if isinstance(spec, FlavaSpec) else spec.model
    # Everything that can be refused is refused before anything is written.
    config = config_of_spec(architecture) if format == "hf" else None
    tensors = model.state_dict()
    theirs = _for_torchmultimodal(architecture, tensors) if format == "torchmultimodal" else {}
    with _written_to(folder) as unfinished:
        if processor is not None and format != "torchmultimodal":
            write_processor(processor, unfinished)
        if format == "flava_parts":
            save_tensors(tensors, unfinished / MODEL)
            (unfinished / SPEC).write_text(to_yaml(self_contained(spec)), encoding="utf-8")
        elif config is not None:
            if not getattr(model.codebook, "ready", True):
                config["init_codebook"] = False
                tensors = {name: value for name, value in tensors.items() if not name.startswith("codebook.")}
            config["dtype"] = str(model.image_encoder.norm.weight.dtype).removeprefix("torch.")
            whole = config["architectures"] == ["FlavaForPreTraining"]
            named = from_ours(tensors, "transformers" if whole else "transformers_model")
            _write_transformers(named, config, unfinished)
        else:
            torch.save(_apart(theirs), unfinished / TORCH_FILE)


def _for_torchmultimodal(spec: FlavaSpec, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's tensors under its names. Raises SpecError, or InputError, if it has no such model."""
    try:
        named = from_ours(tensors, "torchmultimodal")
    except KeyError as error:
        raise InputError(f"{error.args[0]}: it has no such parts") from None
    if problems := list(without_counterpart(spec, tensors)):
        raise SpecError(problems)
    return named


@contextmanager
def _written_to(folder: Path) -> Generator[Path]:
    """`new_folder`, saying which folder cannot be written."""
    try:
        with new_folder(folder) as unfinished:
            yield unfinished
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error


def _new(folder: Path) -> Path:
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists already; choose a new folder, so that no other model is lost")
    return folder


def _write_transformers(tensors: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path) -> None:
    save_tensors(_apart(tensors), folder / MODEL)
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, none sharing memory with another: both libraries store a decoder's bias twice."""
    seen: set[int] = set()
    apart: dict[str, Tensor] = {}
    for name, value in tensors.items():
        apart[name] = value.clone() if value.data_ptr() in seen else value
        seen.add(value.data_ptr())
    return apart
