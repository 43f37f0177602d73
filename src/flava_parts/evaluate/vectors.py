"""Named vectors in a safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import InputError

EMBEDDINGS, NAMES = "embeddings", "names"
"""The tensors of the file: (N, D) float32, and the names as the UTF-8 bytes (n,) of a JSON list.

They are no metadata, since safetensors limits its header and the names of many pictures would not fit.
"""


def write_vectors(path: Path, vectors: Tensor, names: Sequence[str]) -> None:
    """Write vectors (N, D) and their N names; the file is complete or absent. Raises InputError if that fails."""
    content = np.frombuffer(json.dumps(list(names), ensure_ascii=False).encode("utf-8", "surrogateescape"), np.uint8)
    unfinished = path.with_name(f".tmp-{path.name}")
    try:
        save_file({EMBEDDINGS: vectors.cpu().contiguous(), NAMES: torch.from_numpy(content.copy())}, unfinished)
        os.replace(unfinished, path)
    except (OSError, SafetensorError) as error:
        unfinished.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error})") from None


def read_vectors(path: Path) -> tuple[Tensor, list[str]]:
    """The vectors (N, D) and their N names. Raises InputError for another file."""
    try:
        tensors = load_file(path)
        vectors = tensors[EMBEDDINGS]
        names = json.loads(tensors[NAMES].numpy().tobytes().decode("utf-8", "surrogateescape"))
    except (OSError, SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: holds no named vectors ({error}); write it with flava-parts embed") from None
    if not isinstance(names, list) or vectors.dim() != 2 or len(names) != len(vectors):
        raise InputError(f"{path}: holds no named vectors; write it with flava-parts embed")
    return vectors, [str(name) for name in names]
