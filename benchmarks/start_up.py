"""P9 and P10: composing a model, loading a checkpoint, and how long the command line takes to answer."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from tempfile import TemporaryDirectory

import torch
from transformers import FlavaConfig, FlavaForPreTraining

import flava_parts
from flava_parts.interop.pretrained import load_pretrained

from .peers import SMOKE, checkpoint
from .rivals import Row, in_turn

SECONDS = {"import flava_parts": 0.15, "flava-parts check flava.emoji": 0.5}
"""What is promised, without torch."""


def rows(*, smoke: bool, rounds: int) -> Iterator[Row]:
    """A model from nothing, one from its checkpoint, and the two promises in seconds."""
    spec = flava_parts.load_spec("flava.tiny" if smoke else "flava.base")
    spec = spec.model_copy(update={"codebook": None, "losses": _without_codes(spec.losses)})
    config = FlavaConfig(**(SMOKE if smoke else {}))
    own, their = in_turn(
        lambda: flava_parts.compose(spec),
        lambda: FlavaForPreTraining(config, image_codebook=torch.nn.Identity()),
        rounds=rounds,
    )
    yield Row("P9", "compose flava.base, without codebook", own, their, 2.0)
    folder = checkpoint(smoke=smoke)
    own, their = in_turn(
        lambda: load_pretrained(folder), lambda: FlavaForPreTraining.from_pretrained(folder), rounds=rounds
    )
    yield Row("P9c", "load its checkpoint", own, their, 2.0)
    for command, limit in SECONDS.items():
        code = (
            command
            if command.startswith("import")
            else f"import sys; sys.argv = {command.split()!r}; from flava_parts.cli import main; main()"
        )
        with TemporaryDirectory() as bytecode:
            _seconds(code, bytecode)  # compiles; an installed package is compiled
            taken = tuple(_seconds(code, bytecode) for _ in range(1 if smoke else 10))
        yield Row("P10", command, taken, (limit,), 1.0, f"promised within {limit} s; the peer's column is that")


def _without_codes(losses: dict[str, object]) -> dict[str, object]:
    return {name: loss for name, loss in losses.items() if name not in ("mim", "mmm_image")}


def _seconds(code: str, bytecode: str) -> float:
    """How long a process takes, with compiled modules in a folder of their own, whatever the environment says."""
    environment = os.environ | {"PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment)
    return time.perf_counter() - start
