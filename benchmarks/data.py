"""What data costs, each figure beside what it is compared with: ``python benchmarks/data.py [NAME...]``.

Medians of interleaved rounds, so that what else the machine does falls on both sides alike.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

if TYPE_CHECKING:
    from flava_parts.data.sources.shards import Shards

ROUNDS = 9
CHUNK = 10_000
"""Samples that are written at once."""
READINGS = 200_000
UPDATES = 60


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
    """A shard of random bytes with captions: headers, which only differ in their number, are made many at once."""
    content = np.random.default_rng(0).bytes(picture_bytes)
    record = b"".join(
        header(f"{0:09}.{suffix}", each) + each + bytes(-len(each) % 512)
        for suffix, each in (("jpg", content), ("txt", b"a caption of nine words or so, on average"))
    )
    starts = [0, 512 + -(-picture_bytes // 512) * 512]
    least = [int(record[start + 148 : start + 154], 8) for start in starts]
    powers = 10 ** np.arange(8, -1, -1)
    with path.open("wb") as file:
        for first in range(0, samples, CHUNK):
            digits = (np.arange(first, min(first + CHUNK, samples))[:, None] // powers % 10).astype(np.uint8)
            blocks = np.tile(np.frombuffer(record, dtype=np.uint8), (len(digits), 1))
            for start, sum_of_zeros in zip(starts, least, strict=True):
                sums = (sum_of_zeros + digits.sum(axis=1, dtype=np.int64))[:, None]
                blocks[:, start : start + 9] = digits + ord("0")
                blocks[:, start + 148 : start + 154] = sums // 8 ** np.arange(5, -1, -1) % 8 + ord("0")
            file.write(blocks.data)
        file.write(bytes(1024))


def header(name: str, content: bytes) -> bytes:
    """A member's header."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member.tobuf(tarfile.USTAR_FORMAT)


def shards() -> None:
    """Reading all samples of a shard in order, beside ``cat`` of the file, on a warm cache.

    members: the bytes of each sample's members, by the index. records: with key, caption and the choice of picture.
    """
    from flava_parts.data.sources.shard import Shard
    from flava_parts.data.sources.shard_index import write_index
    from flava_parts.data.sources.shards import Shards

    print("reading a shard, both from the page cache")
    for kilobytes in (50, 150, 500):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.tar"
            samples = 400_000 // kilobytes
            write_shard(path, samples, kilobytes * 1000)
            write_index(str(path))
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
    """What an index of a million samples costs: to write, in a file, and in processes that read at random."""
    from flava_parts.data.sources.shard_index import write_index
    from flava_parts.data.sources.shards import Shards

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar"
        write_shard(path, 1_000_000, 100)
        print("an index of 1,000,000 samples of two members each")
        print(f"  writing it            {seconds(lambda: write_index(str(path))):6.1f} s")
        print(f"  its file              {os.path.getsize(f'{path}.index') / 1e6:6.1f} MB")
        print(f"  opening it            {seconds(lambda: Shards(shards=str(path))) * 1e3:6.1f} ms")
        each = seconds(lambda: read_at_random(Shards(shards=str(path)), 0)) / READINGS
        print(f"  one sample at random  {each * 1e6:6.1f} us")
        for processes in (1, 4):
            shares = in_processes(processes, str(path))
            print(
                f"  {processes} processes together   {sum(shares):6.1f} MB, each after {READINGS:,} readings at random"
            )


def read_at_random(source: Shards, seed: int) -> None:
    """Read records in a random order."""
    for place in np.random.default_rng(seed).integers(0, len(source), READINGS).tolist():
        source.record(place)


def in_processes(count: int, path: str) -> list[float]:
    """How much more memory each of several processes has, MB, when all have read a shard at random.

    Pages of the index that they share are divided among them, so that the sum counts each once.
    """
    spawn = multiprocessing.get_context("spawn")
    barrier, found = spawn.Barrier(count), spawn.Queue()
    processes = [spawn.Process(target=reading, args=(path, number, barrier, found)) for number in range(count)]
    for process in processes:
        process.start()
    shares = [found.get() for _ in processes]
    for process in processes:
        process.join()
    return shares


def reading(path: str, seed: int, barrier: Any, found: Any) -> None:
    """One of these processes."""
    from flava_parts.data.sources.shard_index import SUFFIX
    from flava_parts.data.sources.shards import Shards

    before = memory()["own"]
    source = Shards(shards=path)
    read_at_random(source, seed)
    barrier.wait()
    index = next(part for part in psutil.Process().memory_maps() if part.path == path + SUFFIX)
    taken = memory()["own"] - before + index.pss / 1e6
    barrier.wait()
    found.put(taken)


def table() -> None:
    """What a table of a million captions costs: to open, and in memory."""
    from flava_parts.data.sources.table import Table
    from flava_parts.train.resident import resident_peak

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


def wait() -> None:
    """How much of its time the shipped run waits for data, in its first updates, without workers and with one."""
    print(f"the shipped run, {UPDATES} updates")
    for workers in (0, 1):
        with tempfile.TemporaryDirectory() as folder:
            changes = [f"train.steps={UPDATES}", "evaluate={retrieval: null}", f"data.workers={workers}"]
            sets = [word for change in changes for word in ("--set", change)]
            command = [sys.executable, "-m", "flava_parts", "train", "--out", folder, *sets]
            took = seconds(lambda command=command: subprocess.run(command, capture_output=True, check=True))
            lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
        times = np.array([(line["seconds"], line["data_share"]) for line in lines[5:] if "data_share" in line])
        share = float(times.prod(axis=1).sum() / times[:, 0].sum())
        print(
            f"  {workers} workers  waits {share:6.1%}  {np.median(times[:, 0]):6.3f} s an update  {took:6.1f} s in all"
        )


ROWS = {"shards": shards, "index": index, "table": table, "wait": wait}
"""The figures by name."""


def main() -> None:
    """Measure what is named, or everything."""
    for name in sys.argv[1:] or ROWS:
        ROWS[name]()


if __name__ == "__main__":
    main()
