"""One of two gloo processes: its half of the batch through the loss; writes what came of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from pairs import RANKS, ROWS, gradients, loss, streams


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), RANKS)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=RANKS)
    own = slice(rank * ROWS // RANKS, (rank + 1) * ROWS // RANKS)
    module = loss(chunk=2)
    value = module({name: stream[own] for name, stream in streams().items()})
    found = gradients(module, value.value)
    dist.barrier()  # who leaves first would cut off the other
    dist.destroy_process_group()
    assert value.targets is not None
    record = {
        "value": value.value.item(),
        "targets": value.targets.tolist(),
        "gradients": {name: gradient.tolist() for name, gradient in found.items()},
    }
    (folder / f"{rank}.json").write_text(json.dumps(record), encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
