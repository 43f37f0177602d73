"""What a model of transformers gives, read from the model itself: built on the meta device, without memory."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import torch

from flava_parts.errors import InputError
from flava_parts.facts import Grid, ImageTokens, Size, TextTokens, pair

from .source import model


def image_tokens(config: dict[str, Any] | None, folder: str | None, image_size: Size, channels: int) -> ImageTokens:
    """The sequence of an image tower. Raises InputError if it is none, or reads pictures of another size."""
    return _image_tokens(json.dumps(config, sort_keys=True), folder, image_size, channels)


def text_tokens(config: dict[str, Any] | None, folder: str | None) -> TextTokens:
    """The sequence of a text encoder. Raises InputError if it is none."""
    return _text_tokens(json.dumps(config, sort_keys=True), folder)


def prefix_of(settings: Any) -> int:
    """How many tokens of its own a tower with this configuration puts before the patches."""
    if "siglip" in settings.model_type:
        return 0
    distilled = settings.model_type == "deit"
    return 1 + int(distilled) + int(getattr(settings, "num_register_tokens", 0))


@lru_cache(maxsize=64)
def _image_tokens(config: str, folder: str | None, image_size: Size, channels: int) -> ImageTokens:
    with torch.device("meta"):
        built = model(json.loads(config), folder)
    settings = built.config
    if getattr(built, "main_input_name", "") != "pixel_values" or not hasattr(settings, "patch_size"):
        raise InputError(f"transformers' {settings.model_type} is no tower that cuts pictures into patches")
    (height, width), (rows, columns) = pair(image_size), pair(_size(settings.patch_size))
    if pair(_size(settings.image_size)) != (height, width) or settings.num_channels != channels:
        raise InputError(
            f"image_size and channels are {image_size} and {channels}, but the configuration has "
            f"{settings.image_size} and {settings.num_channels}"
        )
    prefix = prefix_of(settings)
    grid = Grid(height // rows, width // columns)
    with torch.device("meta"), torch.no_grad():
        given = built(torch.empty(1, channels, height, width)).last_hidden_state
    if given.shape[1] != prefix + grid.size:
        raise InputError(f"transformers' {settings.model_type} gives {given.shape[1]} tokens, not {prefix} + {grid}")
    return ImageTokens(grid=grid, prefix=max(prefix, 1), width=given.shape[2])


@lru_cache(maxsize=64)
def _text_tokens(config: str, folder: str | None) -> TextTokens:
    with torch.device("meta"):
        built = model(json.loads(config), folder)
    settings = built.config
    causal = getattr(settings, "is_decoder", False) or "text_model" in settings.model_type
    if getattr(built, "main_input_name", "") != "input_ids" or settings.is_encoder_decoder or causal:
        raise InputError(f"transformers' {settings.model_type} is no text encoder whose first token is a summary")
    with torch.device("meta"), torch.no_grad():
        try:
            given = built(torch.zeros(1, 2, dtype=torch.long))
        except (RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"transformers' {settings.model_type} is no text encoder: {error}") from error
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
