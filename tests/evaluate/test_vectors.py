"""Named vectors: what is written is read, whatever the names, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from flava_parts.errors import InputError
from flava_parts.evaluate.vectors import read_vectors, write_vectors

NAMES = st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.just("zw\udcf6lf.png"), max_size=5)


@given(names=NAMES)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    """Names of any characters, those of file names that are no UTF-8 among them."""
    path, vectors = tmp_path_factory.mktemp("vectors") / "e.safetensors", torch.randn(len(names), 3)
    write_vectors(path, vectors, names)
    again, same = read_vectors(path)

    assert torch.equal(vectors, again)
    assert names == same
    assert ["e.safetensors"] == [each.name for each in path.parent.iterdir()]


def test_any_reader_of_safetensors_finds_them(tmp_path: Path) -> None:
    """The names are the bytes of a JSON list."""
    write_vectors(tmp_path / "e.safetensors", torch.eye(2), ["a", "ü"])
    tensors = load_file(tmp_path / "e.safetensors")

    assert torch.equal(torch.eye(2), tensors["embeddings"])
    assert '["a", "ü"]'.encode() == tensors["names"].numpy().tobytes()


def test_what_cannot_be_written(tmp_path: Path) -> None:
    """A folder in the way; what was begun is taken away again."""
    (tmp_path / "e.safetensors").mkdir()
    with pytest.raises(InputError, match=r"e\.safetensors: cannot be written"):
        write_vectors(tmp_path / "e.safetensors", torch.eye(1), ["a"])

    assert ["e.safetensors"] == [each.name for each in tmp_path.iterdir()]


def text(content: str) -> Tensor:
    return torch.tensor(list(content.encode()), dtype=torch.uint8)


@pytest.mark.parametrize(
    "tensors",
    [
        {"embeddings": torch.eye(2)},
        {"names": text("[]")},
        {"embeddings": torch.eye(2), "names": text('["a"]')},
        {"embeddings": torch.eye(2)[0], "names": text('["a", "b"]')},
        {"embeddings": torch.eye(2), "names": text('"ab"')},
        {"embeddings": torch.eye(2), "names": text("a, b")},
        {"embeddings": torch.eye(2), "names": text("[" * 100_000)},
    ],
)
def test_other_files_are_refused(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, tmp_path / "e.safetensors")
    with pytest.raises(InputError, match=r"holds no named vectors.*; write it with flava-parts embed$"):
        read_vectors(tmp_path / "e.safetensors")


def test_no_file_and_no_safetensors(tmp_path: Path) -> None:
    (tmp_path / "e.safetensors").write_text("no")
    for name in ("e.safetensors", "none.safetensors"):
        with pytest.raises(InputError, match="holds no named vectors"):
            read_vectors(tmp_path / name)
