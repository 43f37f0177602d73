"""What a run's numbers depend on beside its spec: versions, plugins, threads, processes."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from ...registry import Registry


def surroundings(registry: Registry, *, seed: int, world_size: int) -> dict[str, Any]:
    """The versions of the libraries and of every plugin, the threads, the processes and the seed, as JSON has them."""
    origins = sorted(
        {(entry.origin.distribution, entry.origin.version) for entry in registry.entries.values()}, key=str
    )
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("flava-parts", "torch", "safetensors")},
        "plugins": {name: number for name, number in origins if name is not None},
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "world_size": world_size,
        "seed": seed,
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What was otherwise when a checkpoint was made: ``threads 4, now 2``. Numbers may then differ in the last bits."""
    names = [name for name in before if name in now and before[name] != now[name] and name != "plugins"]
    plugins, plugins_now = before.get("plugins", {}), now["plugins"]
    return [
        *(f"{name} {before[name]}, now {now[name]}" for name in names),
        *(
            f"{name} {plugins[name]}, now {plugins_now.get(name)}"
            for name in plugins
            if plugins[name] != plugins_now.get(name)
        ),
    ]
