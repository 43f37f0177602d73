"""Pictures of every odd and every bad kind, from a folder and from a shard; and what a hostile corpus can reach."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from bad_pictures import BAD, GOOD, encoded, gradient
from PIL import Image
from tars import write_tar

from flava_parts.data.sources.bad_sample import BadSampleError
from flava_parts.data.sources.pictures import Pictures
from flava_parts.data.sources.record import Records
from flava_parts.data.sources.shard_index import write_index
from flava_parts.data.sources.shards import Shards


def folder_of(folder: Path, content: bytes) -> Records:
    """A folder with one picture."""
    (folder / "odd.jpg").write_bytes(content)
    return Pictures(folder=str(folder))


def shard_of(folder: Path, content: bytes) -> Records:
    """A shard with one picture."""
    write_tar(folder / "a.tar", {"odd.jpg": content})
    write_index(f"{folder}/a.tar")
    return Shards(shards=f"{folder}/a.tar", captions=())


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("store", [folder_of, shard_of])
@pytest.mark.parametrize("kind", GOOD)
def test_odd_pictures_are_read(tmp_path: Path, kind: str, store) -> None:
    """Each upright, in RGB or with transparency, 8 bits, its first frame; nobody can write to the pixels."""
    make, shape = GOOD[kind]
    image = store(tmp_path, make()).sample(0).image

    assert (shape, np.uint8, False) == (image.shape, image.dtype, image.flags.writeable)
    expected = {"16-bit": (99, 99, 99), "transparent": (9, 8, 7, 6), "one-pixel": (0, 128, 0)}
    expected |= dict.fromkeys(("animated-webp", "animated-png"), (255, 0, 0))
    if kind in expected:
        assert expected[kind] == tuple(image[0, 0])
    if kind in ("png", "mislabelled", "huge-exif", "long-comment"):
        assert np.array_equal(gradient(), image)
    if kind == "exif-rotated":
        assert np.abs(np.rot90(gradient(), -1).astype(int) - image).mean() < 6
    if kind == "cmyk":
        assert np.abs(gradient().astype(int) - image).mean() < 6


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("store", [folder_of, shard_of])
@pytest.mark.parametrize("kind", BAD)
def test_bad_pictures_are_told_by_their_reason(tmp_path: Path, kind: str, store) -> None:
    """In one line; the error keeps its parts on the way from a worker process."""
    make, reason = BAD[kind]
    source = store(tmp_path, make())
    with pytest.raises(BadSampleError) as caught:
        source.sample(0)
    error = pickle.loads(pickle.dumps(caught.value))

    assert reason == error.reason
    assert 1 == len(str(error).splitlines())
    assert str(error).startswith(f"{error.source}/{error.key}: ")


MEASURED = """
import sys
from flava_parts.train.resident import resident_peak
from flava_parts.data.sources.bad_sample import BadSampleError
from flava_parts.data.sources.pictures import Pictures
source = Pictures(folder=sys.argv[1])
keys = {source.record(index).key: index for index in range(len(source))}
source.sample(keys.pop("0-good.png"))
before = resident_peak()
for key, index in keys.items():
    try:
        source.sample(index)
    except BadSampleError:
        pass
    print(key, (resident_peak() - before) // 2**20)
"""


def test_bombs_cost_no_memory(tmp_path: Path) -> None:
    """A process that reads them all, and pictures with huge EXIF and ICC blocks, grows by less than 50 MB."""
    (tmp_path / "0-good.png").write_bytes(encoded(Image.fromarray(np.tile(gradient(), (20, 20, 1)))))
    kinds = {**{name: make for name, (make, _) in BAD.items()}, "huge-exif": GOOD["huge-exif"][0]}
    for name, make in {**kinds, "huge-icc": GOOD["huge-icc"][0]}.items():
        (tmp_path / f"{name}.png").write_bytes(make())
    done = subprocess.run([sys.executable, "-c", MEASURED, tmp_path], capture_output=True, text=True, check=True)
    grown = [int(line.rpartition(" ")[2]) for line in done.stdout.splitlines()]

    assert len(BAD) + 2 == len(grown)
    assert grown[-1] < 50, done.stdout


WATCHED = """
import json, sys
from flava_parts.data.sources.bad_sample import BadSampleError
from flava_parts.errors import InputError
from flava_parts.loading import load_run
from flava_parts.data.sources.specs import *
from flava_parts.data.sources.shard_index import write_index
import datasets, pyarrow.parquet, fsspec

corpus, harmless = sys.argv[1:]

def specs(folder):
    return {
        "pictures": PicturesSpec(folder=folder),
        "table": TableSpec(file=f"{folder}/t.csv", folder=folder),
        "lines": TableSpec(file=f"{folder}/t.jsonl", folder=folder),
        "coco": CocoCaptionsSpec(file=f"{folder}/coco.json", folder=folder),
        "texts": TextsSpec(files=f"{folder}/t.txt"),
        "shards": ShardsSpec(shards=f"{folder}/a.tar"),
        "parquet": ParquetSpec(files=f"{folder}/a.parquet"),
        "saved": HFDatasetSpec(folder=f"{folder}/saved"),
    }

def read(folder):
    found = {}
    for name, spec in specs(folder).items():
        found[name] = {}
        source = spec.build()
        for index in range(len(source)):
            try:
                source.sample(index)
                reason = "good"
            except BadSampleError as error:
                reason = error.reason
            found[name][reason] = found[name].get(reason, 0) + 1
    return found

read(harmless)  # what the libraries load on their first use is loaded now
broken, armed = [], True
NEVER = ("exec", "compile", "import", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork",
         "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.chown",
         "os.truncate", "shutil.rmtree", "shutil.move", "shutil.copyfile", "socket.connect", "socket.getaddrinfo",
         "ctypes.dlopen", "pickle.find_class", "marshal.loads")

def watch(event, arguments):
    if not armed:
        return
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if event in NEVER or writes:
        broken.append((event, repr(arguments)[:200]))

sys.addaudithook(watch)
found = read(corpus)
armed = False
print(json.dumps({"broken": broken, "found": found}))
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A hostile folder: every bad picture, names that lead elsewhere, code wherever a name may point."""
    return corpus_in(tmp_path / "corpus", {name: make() for name, (make, _) in BAD.items()})


def corpus_in(folder: Path, pictures: dict[str, bytes]) -> Path:
    import datasets
    import pyarrow
    from pyarrow import parquet

    folder.mkdir()
    good = encoded(Image.fromarray(gradient()))
    mark = f"open({str(folder / 'ran')!r}, 'w')"
    (folder / "sitecustomize.py").write_text(mark)
    (folder / "datasets.py").write_text(mark)
    (folder / "ran.pkl").write_bytes(pickle.dumps(Code(mark)))
    (folder / "out.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.png")
    files = {"good": good, "pickle": pickle.dumps(Code(mark)), "code": mark.encode(), **pictures}
    for name, content in files.items():
        (folder / f"{name}.png").write_bytes(content)
    names = [*(f"{name}.png" for name in files), "../x.png", "/etc/passwd", "pipe.png", "out.png", "saved", "none.png"]
    hostile = ["`touch ran`", "$(touch ran)", "{0.__class__}", "!!python/object:os.system", "{{ 7 * 7 }}"]
    (folder / "t.csv").write_text(
        "picture,caption\n" + "".join(f"{name},{hostile[i % 5]}\n" for i, name in enumerate([*names, *hostile]))
    )
    lines = [json.dumps({"picture": name, "caption": [name]}) for name in [*names, *hostile]]
    (folder / "t.jsonl").write_text("\n".join(lines))
    content = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [{"image_id": i, "caption": hostile[i % 5]} for i in range(len(names))],
    }
    (folder / "coco.json").write_text(json.dumps(content))
    (folder / "t.txt").write_bytes(b"\n".join([*map(str.encode, hostile), b"\xff\xfe", b"\0"]))
    members = {f"{name}.png": each for name, each in files.items()} | {f"{name}.txt": b"text" for name in files}
    members |= {"code.pyd": files["pickle"], "code.pkl": files["pickle"], "code.json": b'{"captions": "x"}'}
    links = [("link.png", tarfile.SYMTYPE), ("hard.png", tarfile.LNKTYPE), ("device.png", tarfile.CHRTYPE)]
    write_tar(folder / "a.tar", {"/tmp/x.png": good, "../y.png": good, "only.txt": b"text", **members}, others=links)
    write_index(f"{folder}/a.tar")
    rows = {"image": [*files.values()], "caption": [hostile[i % 5] for i in range(len(files))]}
    parquet.write_table(pyarrow.table(rows), folder / "a.parquet")
    pictures_ = {"image": [{"bytes": each, "path": None} for each in files.values()], "caption": rows["caption"]}
    datasets.Dataset.from_dict(pictures_).cast_column("image", datasets.Image()).save_to_disk(folder / "saved")
    return folder


class Code:
    """Runs a line when it is unpickled."""

    def __init__(self, line: str) -> None:
        self.line = line

    def __reduce__(self):
        return (exec, (self.line,))


def test_nothing_in_a_corpus_runs_writes_or_hangs(tmp_path: Path, corpus: Path) -> None:
    """Every source reads a hostile corpus under Python's own audit: no code, no process, no network, no writing.

    Each bad sample is told by its reason, and the good ones are read.
    """
    pytest.importorskip("datasets")
    harmless = corpus_in(tmp_path / "harmless", {"cut-off": encoded(Image.fromarray(gradient()), "JPEG")[:-80]})
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WATCHED, corpus, harmless],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        cwd=corpus.parent,
    )
    assert 0 == done.returncode, done.stderr
    result = json.loads(done.stdout)
    pictures = {"good": 1, "not-a-picture": 2}
    for _, reason in BAD.values():
        pictures[reason] = pictures.get(reason, 0) + 1

    assert [] == result["broken"]
    assert not (corpus / "ran").exists()
    assert pictures == result["found"]["parquet"] == result["found"]["saved"]
    assert pictures | {"missing-picture": 1} == result["found"]["shards"]
    assert pictures == result["found"]["pictures"]
    named = pictures | {"outside-folder": 2, "not-a-file": 3, "missing-file": 1}
    assert named == result["found"]["coco"]
    assert named | {"missing-file": 6} == result["found"]["table"] == result["found"]["lines"]
    assert {"good": 6, "bad-utf-8": 1} == result["found"]["texts"]


def test_that_the_audit_can_fail(tmp_path: Path) -> None:
    """The same hook sees a pickle that runs code."""
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Code("1")))
    head, _, hook = WATCHED.partition("read(harmless)")
    hook = hook.partition("\n")[2].partition("found = read(corpus)")[0]
    code = f"import sys, pickle\n{hook}\npickle.load(open(sys.argv[1], 'rb'))\narmed = False\nprint(len(broken))"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.pkl"], capture_output=True, text=True, check=True)

    assert head
    assert int(done.stdout) >= 1
