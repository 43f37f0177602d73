"""What a model of transformers gives, measured on the model itself: on the meta device, without memory."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import torch

from flava_parts.errors import InputError
from flava_parts.facts import Grid, ImageTokens, Size, TextTokens, pair

from .calls import read, see
from .source import in_a_line, model


def image_tokens(config: dict[str, Any] | None, folder: str | None, image_size: Size, channels: int) -> ImageTokens:
    """The sequence of an image tower. Raises InputError if it is none, or reads pictures of another size."""
    return _image_tokens(json.dumps(config, sort_keys=True), folder, image_size, channels)


def text_tokens(config: dict[str, Any] | None, folder: str | None) -> TextTokens:
    """The sequence of a text encoder. Raises InputError if it is none."""
    return _text_tokens(json.dumps(config, sort_keys=True), folder)


@lru_cache(maxsize=64)
def _image_tokens(config: str, folder: str | None, image_size: Size, channels: int) -> ImageTokens:
    with torch.device("meta"):
        built = model(json.loads(config), folder)
    settings = built.config
    if getattr(built, "main_input_name", "") != "pixel_values" or not hasattr(settings, "patch_size"):
        raise InputError(f"transformers' {settings.model_type} is no tower that cuts pictures into patches")
    (height, width), (rows, columns) = pair(image_size), pair(_size(settings.patch_size))
    own_size = _size(getattr(settings, "image_size", image_size))  # SigLIP2's reads any
    if pair(own_size) != (height, width) or settings.num_channels != channels:
        raise InputError(
            f"image_size and channels are {image_size} and {channels}, but the configuration has "
            f"{own_size} and {settings.num_channels}"
        )
    if height % rows or width % columns:
        raise InputError(f"patches of {rows}x{columns} pixels do not tile {height}x{width}")
    try:
        with torch.no_grad():
            given = see(built, torch.empty(1, channels, height, width, device="meta")).last_hidden_state
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"transformers' {settings.model_type} cannot be measured: {in_a_line(error)}") from error
    grid = Grid(height // rows, width // columns)
    prefix = given.shape[1] - grid.size
    if given.dim() != 3 or prefix < 0:
        raise InputError(f"transformers' {settings.model_type} gives {tuple(given.shape)}, no token for each of {grid}")
    return ImageTokens(grid=grid, prefix=max(prefix, 1), width=given.shape[2])


@lru_cache(maxsize=64)
def _text_tokens(config: str, folder: str | None) -> TextTokens:
    with torch.device("meta"):
        built = model(json.loads(config), folder)
    settings = built.config
    causal = getattr(settings, "is_decoder", False) or "text_model" in settings.model_type
    causal = causal or any(getattr(module, "is_causal", False) for module in built.modules())
    if getattr(built, "main_input_name", "") != "input_ids" or settings.is_encoder_decoder or causal:
        raise InputError(f"transformers' {settings.model_type} is no text encoder whose first token is a summary")
    try:
        with torch.no_grad():
            given = read(built, torch.zeros(1, 2, dtype=torch.long, device="meta"))
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"transformers' {settings.model_type} cannot be measured: {in_a_line(error)}") from error
    positions: Any = getattr(getattr(built, "embeddings", None), "position_embeddings", None)
    taken = (
        0 if getattr(positions, "padding_idx", None) is None else positions.padding_idx + 1
    )  # RoBERTa counts from there
    return TextTokens(
        length=settings.max_position_embeddings - taken,
        width=given.last_hidden_state.shape[2],
        vocab_size=built.get_input_embeddings().num_embeddings,
    )


def _size(value: Any) -> Size:
    return tuple(value) if isinstance(value, list | tuple) else int(value)
