"""COCO's caption format, in a small file of its layout."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_pictures import encoded, gradient
from PIL import Image

from flava_parts.data.sources.bad_sample import BadSampleError
from flava_parts.data.sources.coco_captions import CocoCaptions
from flava_parts.data.sources.specs import CocoCaptionsSpec
from flava_parts.errors import InputError

CONTENT: dict[str, Any] = {
    "info": {"year": 2017, "version": "1.0"},
    "licenses": [{"id": 1, "name": "any", "url": "http://example.org"}],
    "images": [
        {"license": 1, "file_name": "000000397133.png", "height": 20, "width": 30, "id": 397133},
        {"license": 1, "file_name": "000000037777.png", "height": 20, "width": 30, "id": 37777},
        {"license": 1, "file_name": "000000252219.png", "height": 20, "width": 30, "id": 252219},
    ],
    "annotations": [
        {"image_id": 37777, "id": 1, "caption": "A kitchen with a table."},
        {"image_id": 397133, "id": 2, "caption": "A man bakes. "},
        {"image_id": 37777, "id": 3, "caption": "Fruit on a kitchen table."},
        {"image_id": 9, "id": 4, "caption": "Nobody knows."},
        {"image_id": 37777, "id": 5, "caption": "  "},
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "captions.json").write_text(json.dumps(CONTENT))
    for image in CONTENT["images"]:
        (tmp_path / image["file_name"]).write_bytes(encoded(Image.fromarray(gradient())))
    return tmp_path


def test_each_picture_has_all_its_captions(folder: Path) -> None:
    """In the order of the images; a picture without caption, and captions without picture, are bad samples."""
    source = CocoCaptionsSpec(file=f"{folder}/captions.json", folder=str(folder)).build()
    records = [pickle.loads(pickle.dumps(source)).record(index) for index in range(2)]

    assert 4 == len(source)
    assert [
        ("000000397133.png", ("A man bakes.",)),
        ("000000037777.png", ("A kitchen with a table.", "Fruit on a kitchen table.")),
    ] == [(record.key, record.captions) for record in records]
    assert np.array_equal(gradient(), source.sample(1).image)
    for index, key, reason in ((2, "000000252219.png", "missing-caption"), (3, "9", "missing-picture")):
        with pytest.raises(BadSampleError) as caught:
            source.sample(index)
        assert (key, reason) == (caught.value.key, caught.value.reason)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "has no list 'images'; this is not COCO's caption format"),
        ('{"images": [{"id": 1}], "annotations": []}', r"images\[0\] should have id and file_name"),
        ('{"images": [], "annotations": [7]}', r"annotations\[0\] should have image_id and caption"),
        ('{"images": [], "annotations": []}', "lists no picture"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_another_format_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "captions.json").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        CocoCaptions(file=f"{tmp_path}/captions.json", folder=str(tmp_path))

    assert 1 == len(str(caught.value).splitlines())


def test_a_listed_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    content = {"images": [{"id": 1, "file_name": "../x.png"}], "annotations": [{"image_id": 1, "caption": "x"}]}
    (tmp_path / "captions.json").write_text(json.dumps(content))
    with pytest.raises(BadSampleError, match="leads out of the folder") as caught:
        CocoCaptions(file=f"{tmp_path}/captions.json", folder=str(tmp_path)).sample(0)

    assert "outside-folder" == caught.value.reason
