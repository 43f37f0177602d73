"""Rows of Parquet files and of Hugging Face's datasets, whose rows are the same."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_pictures import encoded, gradient
from limits import opened_below
from PIL import Image

from flava_parts.data.sources.bad_sample import BadSampleError
from flava_parts.data.sources.hf_dataset import HFDataset
from flava_parts.data.sources.parquet import Parquet
from flava_parts.data.sources.record import Records
from flava_parts.data.sources.specs import HFDatasetSpec, ParquetSpec
from flava_parts.errors import InputError

pyarrow = pytest.importorskip("pyarrow")
PICTURE = encoded(Image.fromarray(gradient()))


def rows() -> dict[str, list[Any]]:
    """Eight rows: all good but the fourth, without a picture, and the last, without a caption."""
    pictures: list[Any] = [{"bytes": PICTURE, "path": f"{i}.png"} for i in range(8)]
    pictures[3] = None
    return {
        "image": pictures,
        "caption": [[f"caption {i}", f"other {i}"] for i in range(7)] + [[]],
        "title": [f"the title {i}" if i % 2 else "" for i in range(8)],
        "lang": ["en" if i < 6 else "de" for i in range(8)],
    }


def parquet(folder: Path, **options: Any) -> Records:
    """The rows in two files of two row groups each."""
    from pyarrow import parquet as files

    table = pyarrow.table(rows())
    for number in range(2):
        files.write_table(table.slice(4 * number, 4), folder / f"{number}.parquet", row_group_size=2)
    return Parquet(files=f"{folder}/*.parquet", **options)


def hf_dataset(folder: Path, **options: Any) -> Records:
    """The rows as a data set with a column of pictures."""
    datasets = pytest.importorskip("datasets")
    if not (folder / "saved").exists():
        datasets.Dataset.from_dict(rows()).cast_column("image", datasets.Image()).save_to_disk(folder / "saved")
    return HFDataset(folder=f"{folder}/saved", **options)


@pytest.fixture(params=[parquet, hf_dataset])
def build(request: pytest.FixtureRequest, tmp_path: Path):
    """Builds either source with options."""
    return lambda **options: request.param(tmp_path, **options)


def test_rows_are_read_in_any_order(build) -> None:
    """With their pictures as they are; also where they were sent to."""
    source = build()
    sent = pickle.loads(pickle.dumps(source))
    for index in (6, 0, 5, 1, 4):
        record = sent.record(index)

        assert (str(index), PICTURE, (f"caption {index}", f"other {index}")) == record[:3]
    assert 8 == len(source) == len(sent)
    assert np.array_equal(gradient(), source.sample(0).image)


def test_wrong_rows_are_bad_samples(build) -> None:
    source = build()
    for index, reason in ((3, "missing-picture"), (7, "empty-caption")):
        with pytest.raises(BadSampleError) as caught:
            source.sample(index)
        assert (str(index), reason) == (caught.value.key, caught.value.reason)


def test_filters_leave_rows_out(build) -> None:
    """The captions if they are long enough, else the title; a row that has neither is none."""
    source = build(captions=["caption", "title"], min_words=3, where={"lang": "en"})

    assert [("1", "the title 1"), ("5", "the title 5")] == [
        (source.sample(index).key, source.sample(index).text) for index in (0, 2)
    ]
    assert 3 == len(pickle.loads(pickle.dumps(source)))
    with pytest.raises(InputError, match="holds no row that is wanted"):
        build(where={"lang": "fr"})


def test_pictures_alone_and_texts_alone(build) -> None:
    pictures, texts = build(captions=[]), build(picture=None, captions=["title"])

    assert (None, PICTURE) == (pictures.record(7).captions, pictures.record(7).picture)
    assert (("the title 3",), None) == (texts.record(3).captions, texts.record(3).picture)


def test_wrong_columns_are_named(build) -> None:
    with pytest.raises(InputError, match="has no column 'text'; it has image, caption, title, lang"):
        build(captions=["text"])


def test_what_is_no_such_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"a\.parquet: no Parquet file can be read"):
        Parquet(files=f"{tmp_path}/a.parquet")
    os.mkfifo(tmp_path / "pipe.parquet")  # which would be waited for
    with pytest.raises(InputError, match=r"pipe\.parquet: is no regular file, but a folder, pipe or device"):
        Parquet(files=f"{tmp_path}/pipe.parquet")
    pytest.importorskip("datasets")
    with pytest.raises(InputError, match="no data set can be read"):
        HFDataset(folder=str(tmp_path))


def test_splits_are_named(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.DatasetDict({"train": datasets.Dataset.from_dict({"a": [1]})}).save_to_disk(tmp_path / "saved")
    with pytest.raises(InputError, match=r"saved: has splits; give one of them: .*saved/train"):
        HFDataset(folder=f"{tmp_path}/saved", picture=None, captions=["a"])


def test_pictures_may_lie_in_a_folder(tmp_path: Path) -> None:
    """Where the column has their names; without the folder that is a bad sample, as a name that leads out of it is."""
    from pyarrow import parquet as files

    (tmp_path / "0.png").write_bytes(PICTURE)
    table = pyarrow.table({"image": ["0.png", "../0.png"], "caption": ["one", "two"]})
    files.write_table(table, tmp_path / "a.parquet")
    path = f"{tmp_path}/a.parquet"

    assert PICTURE == Parquet(files=path, folder=str(tmp_path)).record(0).picture
    for options, index, reason in (({}, 0, "missing-picture"), ({"folder": str(tmp_path)}, 1, "outside-folder")):
        with pytest.raises(BadSampleError) as caught:
            Parquet(files=path, **options).record(index)
        assert reason == caught.value.reason


def with_bad_cells(kind: str, folder: Path, **options: Any) -> Records:
    """Four rows: the second has a caption that is no UTF-8, the third a day that no calendar has."""
    from pyarrow import parquet as files

    captions = pyarrow.array([b"caption 0", b"caf\xe9 au lait", b"caption 2", b"caption 3"]).view(pyarrow.string())
    days = pyarrow.array([0, 0, 2**31 - 1, 0], pyarrow.int32()).view(pyarrow.date32())
    table = pyarrow.table({"caption": captions, "day": days})
    if kind == "parquet":
        files.write_table(table, folder / "a.parquet")
        return Parquet(files=f"{folder}/a.parquet", picture=None, **options)
    pytest.importorskip("datasets").Dataset(table).save_to_disk(folder / "saved")
    return HFDataset(folder=f"{folder}/saved", picture=None, **options)


@pytest.mark.parametrize("kind", ["parquet", "hf_dataset"])
def test_a_bad_cell_spoils_its_row_alone(tmp_path: Path, kind: str) -> None:
    """It is a bad sample, also where rows are left out; those beside it are good, and of known length."""
    plain = with_bad_cells(kind, tmp_path)
    filtered = with_bad_cells(kind, tmp_path, min_words=2, where={"day": "1970-01-01"})

    assert [9, 0, 9, 9] == [plain.text_length(index) for index in range(4)]
    assert [9, 0, 0, 9] == [filtered.text_length(index) for index in range(4)]
    assert "caption 2" == plain.sample(2).text
    for source, index, reason, message in (
        (plain, 1, "bad-utf-8", "caption: is not UTF-8"),
        (filtered, 1, "bad-utf-8", "caption: is not UTF-8"),
        (filtered, 2, "damaged", "day: cannot be read"),
    ):
        with pytest.raises(BadSampleError, match=message) as caught:
            source.sample(index)
        assert (str(index), reason) == (caught.value.key, caught.value.reason)


def damaged(path: Path, generator: np.random.Generator) -> None:
    """Change up to three of the first bytes of a column of the second of three row groups."""
    from pyarrow import parquet as files

    table = pyarrow.table({"caption": [f"caption of number {i}" for i in range(12)], "lang": ["en"] * 12})
    files.write_table(table, path, row_group_size=4, compression=generator.choice(["none", "snappy", "zstd"]))
    column = files.ParquetFile(path).metadata.row_group(1).column(int(generator.integers(2)))
    content = bytearray(path.read_bytes())
    for place in generator.integers(0, min(column.total_compressed_size, 60), 3):
        content[(column.dictionary_page_offset or column.data_page_offset) + place] = generator.integers(256)
    path.write_bytes(content)


@pytest.mark.parametrize("options", [{}, {"min_words": 2}, {"min_words": 2, "where": {"lang": "en"}}])
def test_damaged_row_groups_are_bad_samples(tmp_path: Path, options: dict[str, Any]) -> None:
    """Each told in one line, where the others are read as they are, whatever is wrong with its bytes."""
    generator, errors = np.random.default_rng(0), list[BadSampleError]()
    for _ in range(200):
        damaged(tmp_path / "a.parquet", generator)
        source = Parquet(files=f"{tmp_path}/a.parquet", picture=None, **options)
        found: dict[str, str | None] = {}
        for index in range(len(source)):
            source.text_length(index)
            try:
                sample = source.sample(index)
                found[sample.key] = sample.text
            except BadSampleError as error:
                errors.append(error)
        assert {str(i): f"caption of number {i}" for i in (0, 3, 8, 11)}.items() <= found.items()

    assert {"damaged", "bad-utf-8"} == {error.reason for error in errors}
    assert {"4", "5", "6", "7"} == {error.key for error in errors}
    assert all(str(error).isprintable() for error in errors)


def test_a_row_group_with_other_rows_is_damaged(tmp_path: Path) -> None:
    """As where a file was written anew since the source was built."""
    from pyarrow import parquet as files

    path = tmp_path / "a.parquet"
    files.write_table(pyarrow.table({"caption": ["one", "two", "three", "four"]}), path)
    sent = pickle.dumps(Parquet(files=str(path), picture=None))
    files.write_table(pyarrow.table({"caption": ["five", "six"]}), path)
    source = pickle.loads(sent)

    assert [0] * 4 == [source.text_length(index) for index in range(4)]
    for index in range(4):
        with pytest.raises(BadSampleError, match="its row group has 2 rows instead of 4") as caught:
            source.sample(index)
        assert "damaged" == caught.value.reason


def test_no_more_than_so_many_files_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And those that were closed are opened again."""
    from pyarrow import parquet as files

    monkeypatch.setattr("flava_parts.data.sources.opened.OPENED", 2)
    for number in range(5):
        files.write_table(pyarrow.table({"caption": [f"text {number}"]}), tmp_path / f"{number}.parquet")
    source = Parquet(files=f"{tmp_path}/*.parquet", picture=None)

    assert [f"text {index}" for index in (*range(5), 0, 3)] == [
        source.sample(index).text for index in (*range(5), 0, 3)
    ]
    assert 2 == len(opened_below(tmp_path))
    assert "text 4" == pickle.loads(pickle.dumps(source)).sample(4).text


@pytest.mark.parametrize(
    ("spec", "package"),
    [(ParquetSpec(files="*"), "pyarrow"), (HFDatasetSpec(folder="x"), "datasets")],
)
def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: Any, package: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").touch()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"needs {package}; pip install 'flava-parts\[\w+\]'"):
        spec.build()


def test_the_specs_say_what_is_there() -> None:
    both, pictures, texts = (
        ParquetSpec(files="x"),
        ParquetSpec(files="x", captions=()),
        HFDatasetSpec(folder="x", picture=None),
    )

    assert [{"image", "text"}, {"image"}, {"text"}] == [each.provides for each in (both, pictures, texts)]
    with pytest.raises(ValueError, match="there is nothing to read"):
        HFDatasetSpec(folder="x", picture=None, captions=())
