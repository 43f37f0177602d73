"""Models of transformers, from a configuration or a folder: never from the network, never by running foreign code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel

from flava_parts.errors import InputError

TOWERS = {"clip": "clip_vision_model", "siglip": "siglip_vision_model", "siglip2": "siglip2_vision_model"}
"""Two-tower models, whose image tower is meant."""


def configuration(config: dict[str, Any] | None, folder: str | None) -> Any:
    """The configuration object. Raises InputError for one that is missing or that transformers does not know."""
    place = folder or "config"
    values = dict(config) if config is not None else _read(Path(str(folder)) / "config.json")
    kind = str(values.pop("model_type", ""))
    if kind in TOWERS:
        values, kind = dict(values.get("vision_config") or {}), TOWERS[kind]
        values.pop("model_type", None)
    try:
        return AutoConfig.for_model(kind, **values)
    except Exception as error:  # transformers' validation raises classes of many libraries
        raise InputError(f"{place}: transformers cannot read this configuration: {in_a_line(error)}") from error


def model(config: dict[str, Any] | None, folder: str | None) -> Any:
    """The model without its heads, with the folder's weights, or random ones, on torch's current default device.

    Raises InputError if transformers cannot build it, or the weights are missing, pickled, or of another model.
    """
    settings = configuration(config, folder)
    if folder is None or torch.get_default_device().type == "meta":
        try:
            return AutoModel.from_config(settings, trust_remote_code=False)
        except (ImportError, TypeError, ValueError) as error:
            raise InputError(f"transformers has no encoder for this configuration: {in_a_line(error)}") from error
    try:
        built, report = AutoModel.from_pretrained(
            folder,
            config=settings,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{folder}: cannot read the weights: {in_a_line(error)}") from error
    if missing := sorted(name for name in report["missing_keys"] if "pooler" not in name):
        raise InputError(
            f"{folder}: weights of another model: {missing[0]} is missing" + (", among others" if missing[1:] else "")
        )
    return built


def in_a_line(error: Exception) -> str:
    """What an error of transformers says, in reasonable length: some list every model there is."""
    return " ".join(str(error).split())[:300]


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot read a configuration: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: holds no configuration")
    return found
