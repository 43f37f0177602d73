"""Checkpoints that transformers wrote: tiny models with random weights, in every form they are saved in."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from reference.oracles import Tiny, hugging_face

from flava_parts.facts import Grid

TINY = Tiny(grid=Grid(3, 3))
"""Square, with images of 9 x 9 pixels, and a codebook that gives codes for them."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def published() -> Any:
    """transformers' `FlavaForPreTraining`."""
    logging.getLogger("transformers").setLevel(logging.ERROR)
    return hugging_face(TINY, seed=1, dtype=torch.float32)


@pytest.fixture(scope="session")
def saved(published: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of folders, one for each class of transformers that can be saved, and the whole model in shards."""
    root = tmp_path_factory.mktemp("transformers")
    published.save_pretrained(root / "FlavaForPreTraining")
    published.save_pretrained(root / "sharded", max_shard_size="20KB")
    published.flava.save_pretrained(root / "FlavaModel")
    published.flava.image_model.save_pretrained(root / "FlavaImageModel")
    published.flava.text_model.save_pretrained(root / "FlavaTextModel")
    published.flava.multimodal_model.save_pretrained(root / "FlavaMultimodalModel")
    published.image_codebook.save_pretrained(root / "FlavaImageCodebook")
    return root
