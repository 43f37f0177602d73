"""Tensors that several processes have in parts: each writes its own, and any number of processes reads what it needs.

This is torch's distributed checkpoint, in the one of its formats that cannot hold a pickle if it is given nothing but
tensors: safetensors, each file with the places of its parts in its header.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystem
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from ...errors import InputError

FILE_BYTES = 2**28
"""About so much of a process goes into a file. torch has a file twice in memory before it writes it."""


def in_parts(tensors: Mapping[str, Tensor]) -> bool:
    """Whether this process has only parts of some of the tensors."""
    return any(isinstance(tensor, DTensor) for tensor in tensors.values())


def write_parts(folder: Path, tensors: Mapping[str, Tensor], group: dist.ProcessGroup | None) -> list[Path]:
    """Write this process's parts, and its share of the tensors that all have whole, into a folder; the files of it.

    Called by all processes of a group, with the same names. Raises TypeError for what is no tensor, since torch would
    write a pickle, and, in all of them if one could not write, CheckpointException, which is no Exception.
    """
    size, whole = dist.get_world_size(group), 0
    files: dict[str, int] = {}
    for name, tensor in tensors.items():
        if not torch.is_tensor(tensor):
            raise TypeError(f"{name} is no tensor")
        files[name] = 1 + whole // (FILE_BYTES * size)
        whole += tensor.numel() * tensor.itemsize
    writer = HuggingFaceStorageWriter(str(folder), fqn_to_index_mapping=files, save_distributed=True)
    save(dict(tensors), storage_writer=writer, process_group=group)
    return sorted(folder.glob(f"shard-{dist.get_rank(group) + 1:05d}-*"))


def cause(error: BaseException) -> BaseException:
    """Of what torch raises for several processes, what the first that failed raised there; else the error itself."""
    if isinstance(error, CheckpointException) and error.failures:
        return error.failures[min(error.failures)][0]
    return error


class TensorGroup:
    """A group of tensors, whole in one file or in parts in several: known at once, read when asked for.

    Raises InputError for files that cannot be read, or whose parts do not make whole tensors.
    """

    def __init__(self, files: Sequence[Path], place: Path) -> None:
        """``place`` is the file, or the folder of the files, for messages."""
        self.place = place
        self._reader = _Reader(files, place)
        with self._readable():
            held = _checked(self._reader.read_metadata())
        self.outline = {
            name: torch.empty(tensor.size, dtype=tensor.properties.dtype, device="meta")
            for name, tensor in held.items()
        }
        """Names, shapes and types, as tensors of the meta device."""

    def read(self, into: Mapping[str, Tensor]) -> None:
        """Fill tensors with those that have their names; of DTensors, this process's parts. Shapes have to be equal."""
        if not into:
            return
        with self._readable(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # each process reads by itself, which torch would warn of
            load(dict(into), storage_reader=self._reader, no_dist=True)

    @contextmanager
    def _readable(self) -> Generator[None]:
        try:
            yield
        except (Exception, CheckpointException) as error:
            reason = " ".join(str(cause(error)).split())
            raise InputError(f"{self.place}: cannot be read as safetensors ({reason})") from error


class _Reader(HuggingFaceStorageReader):
    """Reads certain files, whatever else lies beside them."""

    def __init__(self, files: Sequence[Path], place: Path) -> None:
        super().__init__(str(place))
        self.fs = _Files(files)


class _Files(FileSystem):
    def __init__(self, files: Sequence[Path]) -> None:
        self._files = [str(file) for file in files]

    def ls(self, path: object) -> list[str]:
        return self._files


def _checked(found: Metadata) -> dict[str, TensorStorageMetadata]:
    """What there is of tensors. Raises ValueError if parts of one do not go together."""
    held: dict[str, TensorStorageMetadata] = {}
    for name, tensor in found.state_dict_metadata.items():
        if not isinstance(tensor, TensorStorageMetadata) or not _is_whole(tensor):
            raise ValueError(f"the parts of {name} do not make a whole")
        held[name] = tensor
    for part, stored in found.storage_data.items():
        if stored.dtype != held[part.fqn].properties.dtype:
            raise ValueError(f"the parts of {part.fqn} are of several types")
    return held


def _is_whole(tensor: TensorStorageMetadata) -> bool:
    """Whether parts lie one behind the other along the first dimension, from its beginning to its end."""
    if not tensor.size:
        return len(tensor.chunks) == 1
    length, *others = tensor.size
    end = 0
    for part in sorted(tensor.chunks, key=lambda part: (*part.offsets, *part.sizes)):
        if part.offsets[0] != end or list(part.sizes[1:]) != others:
            return False
        end += part.sizes[0]
    return end == length
