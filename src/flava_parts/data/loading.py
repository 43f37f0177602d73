"""The batches of a run as it goes on, made ahead: by worker processes, or by a thread of this one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread, current_thread, main_thread
from types import TracebackType
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from ..errors import FlavaPartsError
from ..plugin_file import PluginFiles
from .ahead import Ahead
from .bad_samples import BAD_SAMPLES, BadSamples
from .loader import Batch
from .reader import Reader
from .rows import Row
from .specs import ReadSpec

LOOKED_AFTER = 1.0
"""Seconds that a batch is waited for before it is seen whether all workers live: those of a forkserver are no children,
so that nobody tells of their end."""

TIMED_OUT = "timed out"
"""What torch says when that time is over."""


class WorkerError(FlavaPartsError):
    """A process that prepares batches ended, or does not answer."""


class Maker(Protocol):
    """Makes the batch of any step; can be sent to other processes."""

    @property
    def rank(self) -> int:
        """Which part of each batch it makes, from 0."""
        ...

    @property
    def reader(self) -> Reader:
        """Who reads the samples."""
        ...

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0."""
        ...


class Loading:
    """The batches of a run from update ``first`` to ``steps``, which are asked for in this order; a context.

    They are made ahead: one by a thread of this process, or several by ``data.workers`` processes, which leave
    `STOPPING` to this one and end with the context, however they are. What is in a batch does not depend on them.
    torch's global generator is not touched. Bad samples are told in ``folder`` (see `BadSamples`).
    """

    def __init__(self, batches: Maker, data: ReadSpec, *, folder: Path, first: int, steps: int) -> None:
        self._batches = batches
        self._data = data
        self._steps = steps
        name = BAD_SAMPLES if batches.rank == 0 else f"{Path(BAD_SAMPLES).stem}-{batches.rank}.jsonl"
        once = data.on_error == "quarantine"
        self._bad = BadSamples(folder / name, data.bad, once=once, step=first)
        for bad in self._bad.known if once else ():
            batches.reader.quarantine(bad)
        self._next = first
        self._pool: _Pool | None = None
        self._ahead: Ahead | None = None

    def __enter__(self) -> Loading:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for made in (self._pool, self._ahead):
            if made is not None:
                made.close()

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0.

        Raises WorkerError if a worker ended or the batch did not come within ``data.timeout``, and what reading raises.
        """
        if not self._data.workers:
            if self._ahead is None:
                self._ahead = Ahead(self._batches.batch, steps=self._steps)
            batch = self._ahead.batch(step)
        else:
            if self._pool is not None and step != self._next:
                self._pool.close()
                self._pool = None
            if self._pool is None:
                self._pool = _Pool(self._batches, self._data, range(step, max(self._steps, step + 1)))
            batch = self._pool.next(step)
            self._next = step + 1
        self._bad.saw(step, batch)
        return batch


class _Places:
    """What each worker reads, in memory that all share: process, step, stream, epoch and sample."""

    def __init__(self, workers: int, streams: list[str]) -> None:
        self.numbers = torch.full((workers, 5), -1).share_memory_()
        self._streams = streams

    def tell(self, worker: int, step: int, row: Row | None) -> None:
        stream = -1 if row is None else self._streams.index(row.stream)
        epoch, sample = (-1, -1) if row is None else (row.epoch, row.sample)
        self.numbers[worker] = torch.tensor([os.getpid(), step, stream, epoch, sample])

    def rows(self) -> Iterator[tuple[int, int, Row | None]]:
        """Process, step and row of each worker that has begun; no row if it reads none."""
        for process, step, stream, epoch, sample in self.numbers.tolist():
            if process >= 0:
                yield process, step, Row(self._streams[stream], epoch, sample) if stream >= 0 else None


class _Steps(Dataset["Batch | FlavaPartsError"]):
    """The batch of each step; what a user can mend comes as a value, so that it keeps its type and its words."""

    def __init__(self, batches: Maker, places: _Places) -> None:
        self._files = PluginFiles()  # first: what is behind it may be of their classes
        self._batches = batches
        self._places = places

    def __getitem__(self, step: int) -> Batch | FlavaPartsError:
        worker = get_worker_info()
        assert worker is not None
        self._places.tell(worker.id, step, None)
        self._batches.reader.watch = lambda row: self._places.tell(worker.id, step, row)
        try:
            return self._batches.batch(step)
        except FlavaPartsError as error:
            return error
        finally:
            self._places.tell(worker.id, step, None)


class _Pool:
    """Workers that make the batches of ``steps``."""

    def __init__(self, batches: Maker, data: ReadSpec, steps: range) -> None:
        self._batches = batches
        self._timeout = data.timeout
        self._places = _Places(data.workers, list(batches.reader.streams))
        before = set(multiprocessing.active_children())
        loader = DataLoader(
            _Steps(batches, self._places),
            batch_size=None,
            sampler=steps,
            num_workers=data.workers,
            prefetch_factor=data.prefetch,
            multiprocessing_context=data.start_method,
            timeout=min(data.timeout, LOOKED_AFTER),
            worker_init_fn=partial(_begin, os.getpid(), data.start_method == "spawn"),
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # else its seeds come from the global one
        )
        if data.start_method == "forkserver":
            forkserver.ensure_running()  # it lives on, and all that is ever started by it would hold signals back too
        with _signals_held_back(), _children_left_alone():
            self._iterator = iter(loader)
        self._processes = [process for process in multiprocessing.active_children() if process not in before]

    def next(self, step: int) -> Batch:
        until = time.monotonic() + self._timeout
        while True:
            try:
                batch: Batch | FlavaPartsError = next(self._iterator)
            except (RuntimeError, OSError, EOFError) as error:  # a pipe may break with a worker
                late = TIMED_OUT in str(error)
                if late and time.monotonic() < until and all(process.is_alive() for process in self._processes):
                    continue
                if not late:  # what broke may be known before the end of who broke it
                    ended = wait([process.sentinel for process in self._processes], timeout=LOOKED_AFTER)
                    for process in self._processes:
                        process.join(LOOKED_AFTER if process.sentinel in ended else 0)
                message = self._blame(step, error)
                self.close()
                raise WorkerError(message) from error
            if isinstance(batch, FlavaPartsError):
                raise batch
            return batch

    def close(self) -> None:
        """End all workers; those that do not end on their own are killed."""
        # Explicitly, for the frames of an exception may keep the iterator alive; torch has no public name for it.
        self._iterator._shutdown_workers()  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportAttributeAccessIssue]
        for process in self._processes:
            if process.is_alive():
                process.kill()
            process.join()

    def _blame(self, step: int, error: Exception) -> str:
        """Who ended or is late, and what it was reading."""
        dead = {process.pid: process for process in self._processes if not process.is_alive()}
        for process, at, row in self._places.rows():
            what = "between two samples" if row is None else f"reading {self._batches.reader.place(row)}"
            if process in dead:
                return f"data: a worker {_end(dead[process])} while {what}, for update {at + 1}; see data.workers"
        if dead:
            return f"data: a worker {_end(next(iter(dead.values())))} before its first sample; see data.workers"
        for _, at, row in self._places.rows():
            if at == step and row is not None:
                return (
                    f"data: no batch came for {self._timeout:g} s (data.timeout); a worker is still reading "
                    f"{self._batches.reader.place(row)}, for update {at + 1}"
                )
        return f"data: no batch came for update {step + 1}: {(str(error) or repr(error)).splitlines()[0]}"


def _end(process: BaseProcess) -> str:
    code = process.exitcode or 0
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Who stops a run stops it at its main process; workers end with that. torchrun signals them too."""


@contextmanager
def _signals_held_back() -> Generator[None]:
    """Signals that stop a run wait until this is over; processes that are started meanwhile go on holding them back."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _children_left_alone() -> Generator[None]:
    """torch would have the end of a worker raise an error wherever the main thread is, in the midst of an update too.
    It is noticed soon enough when the next batch is asked for."""
    if current_thread() is not main_thread():  # where signals do not arrive
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _begin(main: int, is_child: bool, worker: int) -> None:
    """Leave signals to the process ``main``, which is the parent if ``is_child``, and end when it ends."""
    Thread(target=_end_with, args=(main, main if is_child else os.getppid()), daemon=True).start()
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)  # held back since the process began


def _end_with(main: int, parent: int) -> None:
    """torch looks after its workers too, but takes for their parent who is it when a worker is ready: if the true one
    has been killed by then, for good."""
    while os.getppid() == parent and _exists(main):
        time.sleep(1)
    os._exit(1)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _as_it_is(batch: Any) -> Any:
    return batch
