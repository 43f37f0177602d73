"""Pictures in class folders: which are found, what they are labelled with, and what is said where that fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import class_folders
from PIL import Image

from flava_parts.data.sources.image_folder import ImageFolder
from flava_parts.data.sources.specs import ImageFolderSpec
from flava_parts.errors import InputError


def test_a_picture_is_labelled_by_its_folder(tmp_path: Path) -> None:
    """Classes are in alphabetical order, as the spec states them; keys are paths below the folder."""
    spec = ImageFolderSpec(folder=str(class_folders(tmp_path, {"cat": 2, "ant": 1})))
    source = spec.build()
    samples = [source.sample(index) for index in range(len(source))]

    assert ("ant", "cat") == spec.classes
    assert [("ant/0.png", (0,)), ("cat/0.png", (1,)), ("cat/1.png", (1,))] == [
        (sample.key, sample.labels) for sample in samples
    ]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "cat" / "1.png")), samples[2].image)
    assert frozenset({"image"}) == spec.provides


def test_deeper_folders_count_and_other_files_do_not(tmp_path: Path) -> None:
    """Nor do hidden files, hidden folders, and files beside the class folders."""
    class_folders(tmp_path, {"cat": 1, ".cache": 1})
    (tmp_path / "cat" / "kittens").mkdir()
    (tmp_path / "cat" / "kittens" / "K.PNG").write_bytes((tmp_path / "cat" / "0.png").read_bytes())
    (tmp_path / "cat" / "notes.txt").write_text("soft")
    (tmp_path / "cat" / ".0.png").write_bytes(b"")
    (tmp_path / "top.png").write_bytes(b"")
    source = ImageFolder(folder=str(tmp_path))

    assert ["cat/0.png", "cat/kittens/K.PNG"] == [source.sample(index).key for index in range(len(source))]


@pytest.mark.parametrize(("mode", "channels"), [("L", 3), ("P", 3), ("RGBA", 4), ("LA", 4), ("CMYK", 3)])
def test_any_kind_of_picture_becomes_rgb_or_rgba(tmp_path: Path, mode: str, channels: int) -> None:
    """With transparency, it is kept, for the views to put a background behind it."""
    (tmp_path / "cat").mkdir()
    path = tmp_path / "cat" / ("0.jpg" if mode == "CMYK" else "0.png")
    Image.new(mode, (5, 4)).save(path)
    image = ImageFolder(folder=str(tmp_path)).sample(0).image
    assert image is not None

    assert ((4, 5, channels), np.uint8) == (image.shape, image.dtype)


def test_wrong_folders_are_one_line(tmp_path: Path) -> None:
    """Missing, a file, without classes, with a class that has no picture, with a picture that is none."""
    (tmp_path / "file").write_text("")
    (tmp_path / "flat").mkdir()
    class_folders(tmp_path / "hollow", {"cat": 1, "dog": 0})
    class_folders(tmp_path / "damaged", {"cat": 1})
    (tmp_path / "damaged" / "cat" / "0.png").write_bytes(b"\x89PNG")
    wrong = {
        "missing": r"missing: no folder could be read \(No such file or directory\); give one that has a sub-folder",
        "file": r"file: no folder could be read \(Not a directory\)",
        "flat": "flat: has no sub-folders; put the pictures of each class into one of its name",
        "hollow": "hollow/dog: holds no JPEG, PNG or WebP picture; add some, or remove the folder",
        "damaged": "damaged/cat/0.png: ",
    }
    for name, message in wrong.items():
        with pytest.raises(InputError, match=message) as caught:
            ImageFolder(folder=str(tmp_path / name)).sample(0)

        assert 1 == len(str(caught.value).splitlines())
