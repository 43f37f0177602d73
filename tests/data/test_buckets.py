"""Pairs whose texts are of like length share a batch: every source knows lengths without its pictures."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import datasets
import fsspec
import numpy as np
import pyarrow
import pytest
import torch
from bad_pictures import encoded, gradient
from data.made_up import MadeUp, MadeUpSpec
from data.test_loader import one_stream
from PIL import Image
from pyarrow import parquet
from tars import write_tar

from flava_parts.data.rows import Row
from flava_parts.data.sources.shard_index import ShardFacts, write_index
from flava_parts.data.sources.shards import Shards
from flava_parts.data.sources.specs import (
    CocoCaptionsSpec,
    HFDatasetSpec,
    ParquetSpec,
    ShardsSpec,
    SourceSpec,
    TableSpec,
)
from flava_parts.errors import InputError, SpecError
from flava_parts.loading import load_run

PICTURE = encoded(Image.fromarray(gradient()))
COUNT = 96
CAPTIONS = [
    [f"{index}" + " word" * int(length) for length in lengths]
    for index, lengths in enumerate(np.random.default_rng(0).integers(0, 60, (COUNT, 2)))
]


def table(folder: Path) -> SourceSpec:
    rows = [{"picture": f"{index}.png", "caption": texts} for index, texts in enumerate(CAPTIONS)]
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return TableSpec(file=f"{folder}/t.jsonl", folder=str(folder))


def coco(folder: Path) -> SourceSpec:
    content = {
        "images": [{"id": index, "file_name": f"{index}.png"} for index in range(COUNT)],
        "annotations": [{"image_id": index, "caption": text} for index, two in enumerate(CAPTIONS) for text in two],
    }
    (folder / "c.json").write_text(json.dumps(content))
    return CocoCaptionsSpec(file=f"{folder}/c.json", folder=str(folder))


def shards(folder: Path) -> SourceSpec:
    members = {f"{index}.json": json.dumps({"captions": texts}).encode() for index, texts in enumerate(CAPTIONS)}
    write_tar(folder / "a.tar", members | {f"{index}.png": PICTURE for index in range(COUNT)})
    write_index(f"{folder}/a.tar")
    return ShardsSpec(shards=f"{folder}/a.tar")


def rows(folder: Path) -> SourceSpec:
    content = pyarrow.table({"image": [f"{index}.png" for index in range(COUNT)], "caption": CAPTIONS})
    parquet.write_table(content, folder / "a.parquet", row_group_size=40)
    return ParquetSpec(files=f"{folder}/a.parquet", folder=str(folder))


def saved(folder: Path) -> SourceSpec:
    content = {"image": [{"bytes": PICTURE}] * COUNT, "caption": CAPTIONS}
    datasets.Dataset.from_dict(content).save_to_disk(folder / "saved")
    return HFDatasetSpec(folder=f"{folder}/saved")


@pytest.fixture(params=[table, coco, shards, rows, saved])
def spec(request: pytest.FixtureRequest, tmp_path: Path) -> SourceSpec:
    """Each kind of source over the same pairs."""
    for index in range(COUNT):
        (tmp_path / f"{index}.png").write_bytes(PICTURE)
    return request.param(tmp_path)


def test_a_length_is_that_of_the_caption_that_will_be_drawn(spec: SourceSpec) -> None:
    """One of several; and it is known where pictures cannot be read."""
    source, generators = spec.build(), [torch.Generator().manual_seed(seed) for seed in (3, 3)]
    expected = [len(source.sample(index, generators[0]).text or "") for index in range(COUNT)]
    for path in Path(getattr(spec, "folder", "/nowhere")).glob("*.png"):
        path.unlink()
    source = spec.build()
    found = [source.text_length(index, generators[1]) for index in range(COUNT)]

    assert expected == found


def test_pairs_of_like_length_share_a_batch(spec: SourceSpec) -> None:
    """Less than half of the padding; each epoch has each pair once; any batch is found at once."""
    batches = [one_stream(source=spec, batch_size=8, bucket=bucket, losses=("mmm_text",)) for bucket in (None, 12)]
    plain, alike = ([some.batch(step) for step in range(12)] for some in batches)
    waste = [np.mean([batch.metrics["padding"] for batch in some]) for some in (plain, alike)]
    drawn = Counter(row for step in range(12) for row in batches[1]._groups["s"].rows.batch(step))

    assert waste[1] < waste[0] / 2
    assert Counter(Row("s", 0, index) for index in range(COUNT)) == drawn
    late = batches[1].batch(10**8 + 5)
    assert late.samples == one_stream(source=spec, batch_size=8, bucket=12).batch(10**8 + 5).samples


def test_a_shard_s_index_tells_the_length_of_plain_texts(tmp_path: Path) -> None:
    """Without a reading; in an object store, where each takes its time, also where it can only tell about."""
    write_tar(tmp_path / "a.tar", {"1.png": PICTURE, "1.txt": b"nine text", "2.png": PICTURE, "2.json": b'{"a": "b"}'})
    write_index(f"{tmp_path}/a.tar")
    source = Shards(shards=f"{tmp_path}/a.tar")
    (tmp_path / "a.tar").write_bytes(b"")
    store = fsspec.filesystem("memory")
    store.pipe_file("/lengths/a.tar.index", (tmp_path / "a.tar.index").read_bytes())
    store.pipe_file("/lengths/a.tar", bytes(ShardFacts.read(f"{tmp_path}/a.tar.index").bytes))
    distant = Shards(shards="memory://lengths/a.tar")

    assert [9, 0] == [source.text_length(index) for index in range(2)]
    assert [9, 10] == [distant.text_length(index) for index in range(2)]


class Unmeasured(MadeUp):
    """Pairs whose lengths nobody knows."""

    text_length = None


class UnmeasuredSpec(MadeUpSpec):
    """Made up so."""

    def build(self) -> Unmeasured:
        return Unmeasured(**self.arguments())


def test_buckets_need_lengths() -> None:
    """Of pairs; texts are read anyway. Pictures have none."""
    with pytest.raises(InputError, match=r"^data\.streams\.s\.bucket: tests\.made_up does not know the lengths"):
        one_stream(source=UnmeasuredSpec(), bucket=4)
    assert one_stream(source=UnmeasuredSpec(), use="texts", bucket=4).batch(0)
    with pytest.raises(
        SpecError, match=r"<text>:4:22: data\.streams\.images\.bucket: images have no texts whose lengths"
    ):
        load_run("base: flava.emoji\ndata:\n  streams:\n    images: {bucket: 4}\n")
