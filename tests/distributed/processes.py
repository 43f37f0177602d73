"""Work done by several processes that form a gloo group."""

from __future__ import annotations

import multiprocessing
import os
import socket
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["distributed.processes", "flava_parts.train.run"])  # torch is imported once


def in_ranks(work: Callable[..., Any], size: int, *arguments: Any) -> list[Any]:
    """What ``work(rank, *arguments)`` returned in each of ``size`` processes; tensors have to be returned as arrays."""
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(size, CONTEXT) as pool:
        store = str(Path(folder) / "store")
        waiting = [pool.submit(_rank, work, rank, size, store, *arguments) for rank in range(size)]
        return [one.result(timeout=100) for one in waiting]


def launched(work: Callable[..., Any], size: int, *arguments: Any) -> list[Any]:
    """The same of processes that a launcher would have started: they form a group themselves."""
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    with ProcessPoolExecutor(size, CONTEXT) as pool:
        waiting = [pool.submit(_launched, work, rank, size, port, *arguments) for rank in range(size)]
        return [one.result(timeout=100) for one in waiting]


def _launched(work: Callable[..., Any], rank: int, size: int, port: int, *arguments: Any) -> Any:
    torch.set_num_threads(1)
    told = {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in told.items()})
    return work(rank, *arguments)


def _rank(work: Callable[..., Any], rank: int, size: int, store: str, *arguments: Any) -> Any:
    torch.set_num_threads(1)
    files = dist.FileStore(store, size)
    dist.init_process_group("gloo", store=files, rank=rank, world_size=size, timeout=timedelta(seconds=60))
    try:
        return work(rank, *arguments)
    finally:
        dist.destroy_process_group()
