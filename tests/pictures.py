"""Small pictures in class folders, written for a test."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def class_folders(folder: Path, classes: Mapping[str, int]) -> Path:
    """A folder with so many 16x16 pictures of noise in the sub-folder of each class."""
    random = np.random.default_rng(0)
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / name / f"{index}.png")
    return folder
