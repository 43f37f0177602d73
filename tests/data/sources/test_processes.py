"""Sources in other processes: sent, forked while they are open, read by several at once."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from bad_pictures import encoded
from PIL import Image
from pyarrow import parquet
from reading import found_in
from tars import write_tar

from flava_parts.data.sources.coco_captions import CocoCaptions
from flava_parts.data.sources.emoji import Emoji
from flava_parts.data.sources.glosses import Glosses
from flava_parts.data.sources.parquet import Parquet
from flava_parts.data.sources.pictures import Pictures
from flava_parts.data.sources.shard_index import write_index
from flava_parts.data.sources.shards import Shards
from flava_parts.data.sources.source import Source
from flava_parts.data.sources.table import Table
from flava_parts.data.sources.texts import Texts

COUNT = 40


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Source]:
    """One of each kind, over the same pictures and captions; each has read something, so its files are open."""
    random = np.random.default_rng(0)
    names = [f"{number:02}.png" for number in range(COUNT)]
    files = [encoded(Image.fromarray(random.integers(0, 256, (9, 8, 3), dtype=np.uint8))) for _ in names]
    for name, content in zip(names, files, strict=True):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "t.csv").write_text("picture,caption\n" + "".join(f"{name},caption {name}\n" for name in names))
    (tmp_path / "t.txt").write_text("".join(f"text {name}\n" for name in names))
    coco = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "annotations": [{"image_id": number, "caption": f"caption {number}"} for number in range(COUNT)],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    members = dict(zip(names, files, strict=True))
    members |= {f"{name[:2]}.txt": f"caption {name}".encode() for name in names}
    for half in range(2):
        write_tar(tmp_path / f"{half}.tar", {name: each for name, each in members.items() if int(name[:2]) % 2 == half})
        write_index(f"{tmp_path}/{half}.tar")
    parquet.write_table(pyarrow.table({"image": files, "caption": names}), tmp_path / "a.parquet", row_group_size=7)
    built: dict[str, Source] = {
        "table": Table(file=f"{tmp_path}/t.csv", folder=str(tmp_path)),
        "pictures": Pictures(folder=str(tmp_path)),
        "texts": Texts(files=f"{tmp_path}/t.txt"),
        "coco": CocoCaptions(file=f"{tmp_path}/coco.json", folder=str(tmp_path)),
        "shards": Shards(shards=f"{tmp_path}/*.tar"),
        "parquet": Parquet(files=f"{tmp_path}/a.parquet"),
    }
    for source in built.values():
        source.sample(3)
    return built


def test_a_process_that_they_are_sent_to_reads_the_same(sources: dict[str, Source]) -> None:
    """Started afresh; the shipped samples among them."""
    everything = sources | {"emoji": Emoji(split="held_out"), "glosses": Glosses()}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert found_in(everything) == pool.apply(found_in, (everything,))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_processes_and_threads_read_the_same_at_once(sources: dict[str, Source]) -> None:
    """From files that were open before: nobody's place in a file is another's."""
    expected = found_in(sources)
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert [expected] * 8 == pool.map(found_in, [sources] * 8, chunksize=1)
    plain = {name: source for name, source in sources.items() if name != "parquet"}
    with ThreadPoolExecutor(4) as threads:
        assert [{name: expected[name] for name in plain}] * 8 == list(threads.map(found_in, [plain] * 8))
