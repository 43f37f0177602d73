"""A model on disk: what it is, and its tensors under this package's names, before anything is read into memory."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..compose import compose
from ..errors import InputError
from ..facts import Grid, ImageTokens, TextTokens, Vocab
from ..fusion.specs import FusionSpec
from ..inputs.pretrained import read_picture_settings
from ..inputs.views import BLOCK_ARGUMENTS, mask_grid
from ..layers.initialize import making_on
from ..loading import load_any
from ..maskers.specs import BlockMaskerSpec
from ..part import PartSpec
from ..registry import Registry
from ..spec import FinetuneSpec, FlavaSpec, RunSpec
from ..train.checkpoints.layout import CHECKPOINTS, MODEL, NEEDED, SPEC, group_of
from ..train.checkpoints.loading import newest_checkpoint, tensors_of
from ..train.checkpoints.manifest import MANIFEST
from .config import CONFIG, part_of_config, spec_of_config
from .hub import download, is_hub_id
from .keys import Peer, under_any_prefix
from .tensors import INDEX, PICKLED, SafetensorFiles, TogetherParts, read_json, read_pickled
from .torchmultimodal import LOGIT_SCALE, spec_of_tensors

_POOLED = ("image_encoder", "text_encoder", "fusion")


@dataclass(frozen=True)
class Stored:
    """A whole model, or a part alone if ``slot`` says which.

    ``tensors`` are under the names that the module's state dict has; ``strangers`` are names that no part has.
    """

    place: str
    """Where it is, for messages."""
    folder: Path
    layout: Peer | None
    """Whose files they are; None for our own."""
    spec: FlavaSpec | RunSpec | PartSpec
    tensors: Mapping[str, Tensor]
    strangers: tuple[str, ...] = ()
    slot: str | None = None

    @property
    def whole(self) -> FlavaSpec | RunSpec:
        """The spec of the whole model, or of the run that made it. Raises InputError if it is a part alone."""
        if isinstance(self.spec, PartSpec):
            raise InputError(
                f"{self.place}: holds the {self.slot} alone, where a whole model is needed; load_part reads it"
            )
        return self.spec

    @property
    def model(self) -> FlavaSpec:
        """The spec of the whole model. Raises InputError if it is a part alone."""
        return self.whole.model if isinstance(self.whole, RunSpec) else self.whole

    @property
    def vocab(self) -> Vocab | None:
        """The vocabulary of a run's tokenizer, if it is a run."""
        return self.spec.data.tokenizer.vocab() if isinstance(self.spec, RunSpec) else None

    def compose(self, device: str) -> Any:
        """The module, whole model or part, without its weights."""
        match self.spec:
            case FlavaSpec():
                return compose(self.spec, device=device)
            case RunSpec():
                return compose(self.spec.model, device=device, vocab=self.vocab)
            case FusionSpec():
                width: int = getattr(self.spec, "width", 0)
                with making_on(device):
                    return self.spec.build(
                        image=ImageTokens(Grid(14, 14), prefix=1, width=width), text=TextTokens(512, width, 1)
                    )
            case _:
                with making_on(device):
                    part: Any = self.spec
                    return part.build()

    def part(self, slot: str) -> tuple[Stored, nn.Module]:
        """One part of it with its tensors only, and its module on the meta device.

        Raises InputError if there is no such part.
        """
        whole: nn.Module = self.compose("meta")
        if self.slot is not None:
            if self.slot != slot:
                raise InputError(f"{self.place}: holds the {self.slot} alone, no {slot}")
            return self, whole
        parts = [name for name, _ in whole.named_children() if name != "losses"]
        parts += [f"losses.{name}" for name in self.model.losses]
        if slot not in parts:
            raise InputError(f"{self.place}: has no {slot}; it has {', '.join(parts)}")
        prefix = f"{slot}."
        names = {name.removeprefix(prefix): name for name in self.tensors if name.startswith(prefix)}
        tensors = self.tensors.only(names.values()) if isinstance(self.tensors, TogetherParts) else self.tensors
        return replace(self, tensors=Renamed(names, tensors), strangers=()), whole.get_submodule(slot)


class Renamed(Mapping[str, Tensor]):
    """Tensors under other names, read when they are asked for."""

    def __init__(self, names: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
        self._names = names
        self._tensors = tensors

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _with(tensors: Mapping[str, Tensor], more: dict[str, Tensor]) -> Mapping[str, Tensor]:
    """Tensors, and a few more that their files need not hold."""
    return ChainMap(cast(dict[str, Tensor], tensors), more)


def folder_of(source: str | Path, revision: str | None = None) -> Path:
    """The folder that a source means: itself, its newest checkpoint if it is a run, or a download from the hub.

    Raises InputError if there is none.
    """
    path = Path(source)
    if not path.exists():
        if not is_hub_id(str(source)):
            raise InputError(f"{source}: there is no such folder or file, and it is no owner/name of the hub")
        return download(str(source), revision)
    if path.is_dir() and not (path / MODEL).is_file() and (path / CHECKPOINTS).is_dir():
        newest = newest_checkpoint(path / CHECKPOINTS, only=NEEDED)
        if newest is None:
            raise InputError(f"{path}: is a run without a checkpoint; go on with its training first")
        return newest
    return path if path.is_dir() else path.parent


def open_stored(source: str | Path, revision: str | None = None, registry: Registry | None = None) -> Stored:
    """What a folder, a safetensors file beside its config, or an ``owner/name`` of the hub holds.

    ``registry`` holds the parts that a spec may name, those of all installed plugins if not given. Raises InputError
    if that is no FLAVA, or cannot be read, and SpecError if its spec is wrong.
    """
    folder, file = folder_of(source, revision), Path(source)
    if file.is_file() and file.suffix in PICKLED:
        raise InputError(f"{file}: is a file of torch; convert it first: flava-parts convert {file} FOLDER")
    if (folder / SPEC).is_file():
        tensors = SafetensorFiles.of_file(file) if file.is_file() else _own_tensors(folder)
        spec = load_any(folder / SPEC, registry=registry)
        if isinstance(spec, FinetuneSpec):
            raise InputError(f"{source}: holds a fine-tuned classifier, where a pretrained model is asked for")
        return Stored(str(source), folder, None, self_contained(spec), tensors)
    if (folder / CONFIG).is_file():
        files = SafetensorFiles.of_file(file) if file.is_file() else _weights(folder)
        return _of_transformers(str(source), folder, files)
    raise InputError(
        f"{source}: holds no model; a model has {SPEC} or {CONFIG} beside its safetensors, a run has {CHECKPOINTS}"
    )


def _own_tensors(folder: Path) -> SafetensorFiles | TogetherParts:
    """The model's tensors in a folder of ours, a checkpoint if they are in parts."""
    if (folder / MODEL).is_file() or not (folder / MANIFEST).is_file():
        return SafetensorFiles.of_file(folder / MODEL)
    return TogetherParts(tensors_of(folder, group_of(MODEL)))


def open_pickled(file: Path, heads: int | None = None) -> Stored:
    """What a file of torch holds: torchmultimodal's FLAVA, or transformers' if its config.json lies beside it.

    ``heads`` is the number of attention heads, which no tensor of torchmultimodal shows. Raises InputError as
    `open_stored` does, and for a file that holds more than tensors.
    """
    tensors = read_pickled(file)
    if (file.parent / CONFIG).is_file():
        return _of_transformers(str(file), file.parent, tensors)
    renamed, strangers = _renamed(tensors, under_any_prefix(tensors, "torchmultimodal"))
    if 2 * len(renamed) < len(tensors):
        raise InputError(
            f"{file}: is no state dict of torchmultimodal's FLAVA; one of transformers needs its {CONFIG} beside it"
        )
    scale = "losses.global_contrastive.logit_scale"
    if "losses.global_contrastive.image_projection.weight" in renamed:
        renamed = _with(renamed, {scale: torch.tensor(LOGIT_SCALE)})
    try:
        spec = spec_of_tensors(renamed, heads)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    return Stored(str(file), file.parent, "torchmultimodal", spec, _codebook_or_none(spec, renamed), strangers)


def _of_transformers(place: str, folder: Path, files: Mapping[str, Tensor]) -> Stored:
    config = read_json(folder / CONFIG)
    try:
        if config.get("model_type") == "flava":
            spec = spec_of_config(config)
            tensors, strangers = _renamed(files, under_any_prefix(files, "transformers"))
            spec = _as_stored(_masked_as_told(spec, folder), tensors)
            if config.get("init_codebook", True) is False:
                tensors = _codebook_or_none(spec, tensors)
            return Stored(place, folder, "transformers", spec, tensors, strangers)
        slot, part = part_of_config(config)
    except InputError as error:
        raise InputError(f"{folder / CONFIG}: {error}") from error
    names = under_any_prefix(files, "transformers", slot)
    inner = {
        name: ours and (ours.removeprefix(f"{slot}.") if ours.startswith(f"{slot}.") else None)
        for name, ours in names.items()
    }
    tensors, strangers = _renamed(files, inner)
    if "pooler" in type(part).model_fields:
        part = part.model_copy(update={"pooler": any(name.startswith("pooler.") for name in tensors)})
    if slot == "fusion":
        # What transformers' multimodal model is given has been projected already.
        dtype = next((value.dtype for value in tensors.values()), torch.float32)
        same = {
            f"{modality}_projection.{name}": value.to(dtype)
            for modality in ("image", "text")
            for name, value in _identity(getattr(part, "width", 0)).items()
        }
        tensors = _with(tensors, same)
    return Stored(place, folder, "transformers", part, tensors, strangers, slot)


def _weights(folder: Path) -> SafetensorFiles:
    if (folder / MODEL).is_file():
        return SafetensorFiles.of_file(folder / MODEL)
    if (folder / INDEX).is_file():
        return SafetensorFiles.of_index(folder / INDEX)
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
    if pickled:
        raise InputError(
            f"{folder}: holds {pickled[0]} but no safetensors; convert it first: "
            f"flava-parts convert {folder / pickled[0]} FOLDER"
        )
    raise InputError(f"{folder}: holds a {CONFIG} but neither {MODEL} nor {INDEX}; fetch the weights too")


def _renamed(
    files: Mapping[str, Tensor], names: Mapping[str, str | None]
) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    """Tensors under our names, and the names of those that no part has."""
    # The bias of a head's decoder is stored twice; transformers computes with that of the decoder, which sorts last.
    known = {ours: name for name, ours in sorted(names.items()) if ours is not None}
    return Renamed(known, files), tuple(name for name, ours in names.items() if ours is None)


def _as_stored(spec: FlavaSpec, tensors: Mapping[str, Tensor]) -> FlavaSpec:
    """The spec without the untrained poolers, and the losses without a weight, that the files do not hold."""
    changes: dict[str, Any] = {}
    for slot in _POOLED:
        if not any(name.startswith(f"{slot}.pooler.") for name in tensors):
            changes[slot] = getattr(spec, slot).model_copy(update={"pooler": False})
    changes["losses"] = {
        name: loss
        for name, loss in spec.losses.items()
        if loss.weight or any(key.startswith(f"losses.{name}.") for key in tensors)
    }
    return spec.model_copy(update=changes)


def _masked_as_told(spec: FlavaSpec, folder: Path) -> FlavaSpec:
    """The spec, whose image masker draws as the folder's processor says, where there is one for this model."""
    try:
        found = read_picture_settings(folder)
    except InputError:  # whoever reads the processor is told; the model is whole without it
        return spec
    if found is None or spec.codebook is None or mask_grid(found[1]) != spec.image_encoder.tokens.grid:
        return spec
    masker = BlockMaskerSpec(**{ours: getattr(found[1], theirs) for theirs, ours in BLOCK_ARGUMENTS.items()})
    hides = masker.hides_in(spec.image_encoder.tokens.grid)
    return spec.model_copy(update={"image_masker": masker if hides else spec.image_masker})


def _codebook_or_none(spec: FlavaSpec, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors; with a codebook of zeros, which refuses to give codes, where they hold none at all."""
    if spec.codebook is None or any(name.startswith("codebook.") for name in tensors):
        return tensors
    with making_on("meta"):
        empty = spec.codebook.build().state_dict()
    return _with(tensors, {f"codebook.{name}": torch.zeros(value.shape) for name, value in empty.items()})


def _identity(width: int) -> dict[str, Tensor]:
    return {"weight": torch.eye(width), "bias": torch.zeros(width)}


def self_contained(spec: FlavaSpec | RunSpec) -> FlavaSpec | RunSpec:
    """The spec without the file that a codebook's weights first came from: the model's own files hold them."""
    if isinstance(spec, RunSpec):
        return spec.model_copy(update={"model": self_contained(spec.model)})
    codebook = spec.codebook
    if codebook is None or getattr(codebook, "weights", None) in (None, "random"):
        return spec
    return spec.model_copy(update={"codebook": codebook.model_copy(update={"weights": None})})
