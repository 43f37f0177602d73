"""A file of bytes that may be far away: read in ranges, from any process."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager
from errno import ENOENT
from pathlib import Path
from typing import Any, BinaryIO, cast
from uuid import uuid4

from ...errors import InputError


class ByteFile:
    """A file, by its path or by the address of an object store, such as ``s3://bucket/shard.tar``.

    Ranges are read by their place, so processes that were forked from each other can share it; a process that it was
    sent to opens it anew. Addresses need the extra ``remote`` (fsspec, and its package for the kind of store).
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.is_remote = is_remote(path)
        """Whether it lies in an object store."""
        self._descriptor: int | None = None

    @property
    def size(self) -> int:
        """How many bytes there are. Raises InputError if there is no such file."""
        with naming(self.path):
            if not self.is_remote:
                return os.stat(self._opened()).st_size
            size = store(self.path).size(self.path)
            if size is None:
                raise ValueError("the store does not say how large it is")
            return int(size)

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from ``start`` up to ``stop``; fewer where the file ends before. Raises InputError."""
        if self.is_remote:
            return self._fetched(start, stop)
        try:
            descriptor, size = self._descriptor, stop - start
            if descriptor is None:
                descriptor = self._opened()
            content = os.pread(descriptor, size, start)
            while len(content) < size:  # one call gives at most 2 GiB
                more = os.pread(descriptor, size - len(content), start + len(content))
                if not more:
                    break
                content += more
            return content
        except (OSError, ValueError) as error:
            raise _named(self.path, error) from error

    def _fetched(self, start: int, stop: int) -> bytes:
        with naming(self.path):
            content = cast(bytes, store(self.path).cat_file(self.path, start=start, end=stop))
            if len(content) > stop - start:
                raise ValueError("the store does not give ranges of bytes")
            return content

    def stream(self) -> BinaryIO:
        """The file from its beginning, to be closed by the caller. Raises InputError."""
        with naming(self.path):
            return cast(BinaryIO, store(self.path).open(self.path, "rb")) if self.is_remote else open(self.path, "rb")

    def replace(self, content: bytes) -> None:
        """Make this the content: whoever reads the file finds all of the old or all of the new. Raises InputError."""
        with naming(self.path):
            if self.is_remote:
                store(self.path).pipe_file(self.path, content)
                return
            hidden = Path(f"{self.path}.{uuid4().hex}.tmp")
            try:
                with hidden.open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(hidden, self.path)
            except BaseException:
                hidden.unlink(missing_ok=True)
                raise

    def close(self) -> None:
        """Give the file back to the system; reading opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # os itself may be gone when Python ends
        if self._descriptor is not None:
            close(self._descriptor)

    def __reduce__(self) -> tuple[type[ByteFile], tuple[str]]:
        return (ByteFile, (self.path,))

    def _opened(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        return self._descriptor


def is_remote(path: str) -> bool:
    """Whether a path is an address of an object store."""
    return "://" in path


def check_kind(path: str) -> None:
    """Raise InputError for a pipe, device or folder: opening a pipe waits for whoever writes to it."""
    with naming(path):
        mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: is no regular file, but a folder, pipe or device; it is to be read at any place")


def store(path: str) -> Any:
    """fsspec's file system for an address, made anew in each process. Raises InputError if its package is missing."""
    try:
        import fsspec  # pyright: ignore[reportMissingTypeStubs]

        return fsspec.filesystem(path.partition("://")[0])
    except ImportError as error:
        raise InputError(f"{path}: needs {error.name or error}; pip install 'flava-parts[remote]'") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


@contextmanager
def naming(path: str) -> Generator[None]:
    """What goes wrong with a file, as an InputError with its name."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # stores have errors of their own, which need not be OSErrors
        raise _named(path, error) from error


def _named(path: str, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        reason = os.strerror(ENOENT)
    else:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return InputError(f"{path}: cannot be read or written ({reason})")
