"""Shards on a real server, through fsspec: over HTTP, and in an S3 bucket where s3fs and moto are installed."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_pictures import encoded, gradient
from PIL import Image
from tars import write_tar

from flava_parts.data.sources.byte_file import store
from flava_parts.data.sources.shard_index import write_index
from flava_parts.data.sources.shards import Shards
from flava_parts.errors import InputError

PICTURE = encoded(Image.fromarray(gradient()))


class Handler(SimpleHTTPRequestHandler):
    """Gives the files of a folder, and the ranges of bytes that are asked for; a file ``broken`` is an error."""

    protocol_version = "HTTP/1.1"
    asked: list[str]
    ranges = True

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append(f"{self.path} {wanted}")
        if "broken" in self.path:
            self.send_error(500)
        elif wanted is None or not self.ranges:
            super().do_GET()
        else:
            first, last = map(int, wanted.removeprefix("bytes=").split("-"))
            content = Path(self.translate_path(self.path)).read_bytes()
            some = content[first : last + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{first + len(some) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(some)))
            self.end_headers()
            self.wfile.write(some)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@contextmanager
def served(folder: Path, *, ranges: bool = True) -> Iterator[tuple[str, list[str]]]:
    """The address of a server of a folder, and the paths and ranges that it has been asked for."""
    handler = type("Mine", (Handler,), {"ranges": ranges, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", handler.asked
        finally:
            server.shutdown()
            thread.join()
            store("http://").clear_instance_cache()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shards of three pairs, with their indexes."""
    for name in "ab":
        members = {f"{i}.png": PICTURE for i in range(3)} | {f"{i}.txt": f"{name} {i}".encode() for i in range(3)}
        write_tar(tmp_path / f"{name}.tar", dict(sorted(members.items())))
        write_index(f"{tmp_path}/{name}.tar")
    return tmp_path


def test_a_sample_is_one_request(folder: Path) -> None:
    """Of its own bytes alone: two members together, for each reading takes its time."""
    with served(folder) as (address, asked):
        source = Shards(shards=f"{address}/{{a,b}}.tar")
        listed = Shards(shards=f"{address}/*.tar")
        source.sample(4)
        asked.clear()
        sample = source.sample(3)

        assert 1 == len(asked)
        assert asked[0].startswith("/b.tar bytes=0-")
        assert ("b 0", 6, 6) == (sample.text, len(source), len(listed))
        assert np.array_equal(gradient(), sample.image)
        assert [Shards(shards=f"{folder}/*.tar").sample(i).text for i in range(6)] == [
            listed.sample(i).text for i in range(6)
        ]


def test_what_a_server_will_not_do_is_an_error_with_the_address(folder: Path) -> None:
    """A line each, whatever the store's own errors are."""
    shutil.copy(folder / "a.tar", folder / "broken.tar")
    with served(folder) as (address, _):
        gone = Shards(shards=f"{address}/a.tar")
        with pytest.raises(InputError, match=rf"^{address}/c\.tar: cannot be read or written \(No such file"):
            Shards(shards=f"{address}/c.tar")
        with pytest.raises(InputError, match=r"broken\.tar\.index: cannot be read or written \(500, message='In"):
            Shards(shards=f"{address}/broken.tar")
        with pytest.raises(InputError, match=r"a\.tar\.index: cannot be read or written"):
            write_index(f"{address}/a.tar")
    with pytest.raises(InputError, match=r"a\.tar\.index: cannot be read or written \("):
        gone.sample(0)
    with (
        served(folder, ranges=False) as (address, _),
        pytest.raises(InputError, match=r"the store does not give ranges of bytes"),
    ):
        Shards(shards=f"{address}/a.tar").sample(0)


def test_shards_in_an_s3_bucket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written, indexed, listed and read there."""
    pytest.importorskip("s3fs")
    servers = pytest.importorskip("moto.server")
    server = servers.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
    ):
        monkeypatch.setenv(name, value)
    try:
        bucket = store("s3://")
        bucket.mkdir("bucket")
        for name in "ab":
            bucket.pipe_file(f"s3://bucket/{name}.tar", (folder / f"{name}.tar").read_bytes())
            write_index(f"s3://bucket/{name}.tar")
        source = Shards(shards="s3://bucket/*.tar")

        assert ["a 0", "b 2"] == [source.sample(index).text for index in (0, 5)]
        assert np.array_equal(gradient(), source.sample(0).image)
        with pytest.raises(InputError, match=r"^s3://bucket/c\.tar: cannot be read or written"):
            Shards(shards="s3://bucket/c.tar")
    finally:
        server.stop()
        bucket.clear_instance_cache()
