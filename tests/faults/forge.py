"""A process that imports everything once and then forks trainers, each in milliseconds, as it is told on its stdin.

An order is a line of JSON, and so is the answer. Nothing is trained in this process itself: a fork of one that has
trained inherits the locks of threads that it does not have.
"""

import json
import os
import resource
import sys
import traceback
from datetime import timedelta
from pathlib import Path

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

import flava_parts.cli.train
import flava_parts.interop.saving
import flava_parts.report.pictures
import flava_parts.train.run  # noqa: F401  what a trainer needs, imported before it is forked
from flava_parts.cli import main
from flava_parts.errors import FlavaPartsError
from flava_parts.plugins import default_registry
from flava_parts.train.checkpoints.saving import Checkpoints
from flava_parts.train.ranks import GlooRanks


def command_line(arguments: list[str]) -> None:
    """`flava-parts` with these arguments."""
    sys.argv = ["flava-parts", *arguments]
    main()


def save(folder: str, rank: int, step: int, store: str, in_parts: bool) -> None:
    """One process of two that write a checkpoint together, whole or each its part."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=20)
    )
    weight = torch.full((1000,), float(step))
    if in_parts:
        weight = distribute_tensor(weight, init_device_mesh("cpu", (2,)), [Shard(0)], src_data_rank=None)
    try:
        Checkpoints(Path(folder), "{}\n", ranks=GlooRanks(), keep_last=1).save(
            {"model": {"weight": weight, "scale": torch.tensor(1.0)}}, {"step": step}
        )
    except FlavaPartsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def child(order: dict) -> None:
    """What a fork does; never returns."""
    code = 1
    try:
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order.get("env", {}))
        if "file_size" in order:
            resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_size"], order["file_size"]))
        if "arguments" in order:
            command_line(order["arguments"])
        else:
            save(**order["save"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    torch.set_num_threads(1)
    default_registry()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                child(order)
        print(json.dumps(answer), flush=True)
