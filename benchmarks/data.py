"""What data costs, each figure beside what it is compared with: ``python benchmarks/data.py [NAME...]``.

Medians of interleaved rounds, so that what else the machine does falls on both sides alike.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROUNDS = 9


def seconds(run: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def medians(runs: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """The median seconds of each, taken in turns."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            found[name].append(seconds(run))
    return {name: statistics.median(times) for name, times in found.items()}


def memory() -> dict[str, float]:
    """What this process holds, MB: ``own`` memory, and ``shared`` pages of files."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return {"own": int(fields["RssAnon"].split()[0]) / 1e3, "shared": int(fields["RssFile"].split()[0]) / 1e3}


def write_shard(path: Path, samples: int, picture_bytes: int) -> None:
    """A shard of random bytes with captions, and its index."""
    import io

    from flava_parts.data.sources.shard_index import write_index

    content = np.random.default_rng(0).bytes(picture_bytes)
    with tarfile.open(path, "w") as archive:
        for number in range(samples):
            for suffix, each in (("jpg", content), ("txt", b"a caption of nine words or so, on average")):
                member = tarfile.TarInfo(f"{number:09}.{suffix}")
                member.size = len(each)
                archive.addfile(member, io.BytesIO(each))
            archive.getmembers().clear()  # the library would keep an object for each
    write_index(str(path))


def shards() -> None:
    """Reading all samples of a shard in order, beside ``cat`` of the file, on a warm cache.

    members: the bytes of each sample's members, by the index. records: with key, caption and the choice of picture.
    """
    from flava_parts.data.sources.shard import Shard
    from flava_parts.data.sources.shards import Shards

    print("reading a shard, both from the page cache")
    for kilobytes in (50, 150, 500):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.tar"
            samples = 400_000 // kilobytes
            write_shard(path, samples, kilobytes * 1000)
            source, shard = Shards(shards=str(path)), Shard.open(str(path))

            def records(source: Shards = source) -> None:
                for index in range(len(source)):
                    source.record(index)

            def members(shard: Shard = shard) -> None:
                for index in range(len(shard.index)):
                    shard.read(shard.index.members(index))

            def cat(path: Path = path) -> None:
                subprocess.run(["cat", path], stdout=subprocess.DEVNULL, check=True)

            times = medians({"members": members, "records": records, "cat": cat})
            size = path.stat().st_size / 1e9
            for name, median in times.items():
                print(
                    f"  {kilobytes:3} kB a picture  {name:7}  {size / median:6.2f} GB/s  "
                    f"{median / times['cat']:5.2f} x the time of cat"
                )


def index() -> None:
    """What an index of a million samples costs: to write, in a file, and in a process that reads at random."""
    from flava_parts.data.sources.shards import Shards

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar"
        write_shard(path, 1_000_000, 100)
        from flava_parts.data.sources.shard_index import write_index

        print("an index of 1,000,000 samples of two members each")
        print(f"  writing it            {seconds(lambda: write_index(str(path))):6.1f} s")
        print(f"  its file              {os.path.getsize(f'{path}.index') / 1e6:6.1f} MB")
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); import data, random, time;"
            "from flava_parts.data.sources.shards import Shards; before = data.memory(); start = time.perf_counter();"
            "source = Shards(shards=sys.argv[2]); opened = time.perf_counter() - start;"
            "[source.record(random.randrange(len(source))) for _ in range(200_000)]; after = data.memory();"
            "print(opened, after['own'] - before['own'], after['shared'] - before['shared'])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, Path(__file__).parent, path], capture_output=True, text=True, check=True
        )
        opened, own, shared = map(float, done.stdout.split())
        print(f"  opening it            {opened * 1e3:6.1f} ms")
        print(f"  a process's own       {own:6.1f} MB after 200,000 readings at random")
        print(f"  shared by processes   {shared:6.1f} MB")
        source = Shards(shards=str(path))
        at = np.random.default_rng(0).integers(0, len(source), 20_000).tolist()
        print(f"  one sample at random  {seconds(lambda: [source.record(i) for i in at]) / len(at) * 1e6:6.1f} us")


def table() -> None:
    """What a table of a million captions costs: to open, and in memory."""
    from flava_parts.data.sources.table import Table
    from flava_parts.train.throughput import resident_peak

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        with path.open("w") as file:
            file.write("picture,caption\n")
            file.writelines(f"{i // 5:08}.jpg,a caption of nine words or so on average\n" for i in range(1_000_000))
        before, start = memory()["own"], time.perf_counter()
        source = Table(file=str(path), folder=folder)
        opened = time.perf_counter() - start
        print(f"a table of 1,000,000 captions of {len(source):,} pictures")
        print(f"  opening it            {opened:6.1f} s")
        print(f"  a process's own       {memory()['own'] - before:6.1f} MB")
        print(f"  at most               {resident_peak() / 1e6 - before:6.1f} MB")


ROWS = {"shards": shards, "index": index, "table": table}
"""The figures by name."""


def main() -> None:
    """Measure what is named, or everything."""
    for name in sys.argv[1:] or ROWS:
        ROWS[name]()


if __name__ == "__main__":
    main()
