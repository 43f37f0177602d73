"""Pictures in a folder, without classes."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from pictures import class_folders
from PIL import Image

from flava_parts.data.sources.pictures import Pictures
from flava_parts.data.sources.specs import PicturesSpec
from flava_parts.errors import InputError


def test_all_pictures_below_the_folder_are_found(tmp_path: Path) -> None:
    """In alphabetical order, without hidden ones, other files, pipes, and links to folders (circles)."""
    class_folders(tmp_path, {"cat": 2, ".cache": 1})
    (tmp_path / "z.PNG").write_bytes((tmp_path / "cat" / "0.png").read_bytes())
    (tmp_path / "notes.txt").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "cat" / "circle").symlink_to(tmp_path)
    os.symlink(tmp_path / "z.PNG", tmp_path / "linked.png")
    spec = PicturesSpec(folder=str(tmp_path))
    source = pickle.loads(pickle.dumps(spec.build()))

    assert ["cat/0.png", "cat/1.png", "linked.png", "z.PNG"] == [source.sample(i).key for i in range(len(source))]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "cat" / "1.png")), source.sample(1).image)
    assert ((), frozenset({"image"})) == (source.sample(0).labels, spec.provides)


def test_wrong_folders_are_one_line(tmp_path: Path) -> None:
    for name, message in (("none", "no folder could be read"), (".", "holds no JPEG, PNG or WebP picture")):
        with pytest.raises(InputError, match=message):
            Pictures(folder=str(tmp_path / name))
