"""What lies where in a run's folder, as far as checkpoints go."""

from __future__ import annotations

CHECKPOINTS = "checkpoints"
"""The folder of a run that holds its checkpoints."""

MODEL, OPTIMIZER, STATE, SPEC = "model.safetensors", "optimizer.safetensors", "state.json", "spec.yaml"
"""Files of a checkpoint; beside these, each further group of tensors has a file called after it. Where processes have
parts of the tensors, it has a folder called after it, with files of each process."""

NEEDED = (MODEL, "model", SPEC)
"""What whoever wants the model alone needs of a checkpoint."""

LATEST = "LATEST"
"""The file beside the checkpoints that holds the name of the last one written."""

FORMAT = 2
"""Stands in `state.json`. Checkpoints of the first format have no manifest and name no format; they can be read."""


def name_of(step: int) -> str:
    """The name of the checkpoint after so many updates."""
    return f"step-{step:08d}"


PATTERN = "step-" + "[0-9]" * 8 + "*"
"""What the names of checkpoints look like; more digits after a hundred million updates."""


def file_of(group: str) -> str:
    """The file of a group of tensors that is not in parts."""
    return f"{group}.safetensors"


def group_of(name: str) -> str:
    """The group of a file of tensors, by its name in the manifest: ``model`` of ``model.safetensors`` and
    ``model/shard-00001-model-00001-of-00001.safetensors``."""
    return name.partition("/")[0].removesuffix(".safetensors")
