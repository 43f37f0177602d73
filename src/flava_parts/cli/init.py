"""``flava-parts init``: a file to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .options import Plugins, registry_with


def init(
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    preset: Annotated[str, typer.Option(help="The preset to begin with.")] = "flava.base",
    plugins: Plugins = None,
) -> None:
    """Write a file that says everything a preset says, to be changed. Never overwrites one."""
    from ..loading import load_any
    from ..writing import to_yaml

    registry = registry_with(plugins)
    if preset not in registry.presets:
        reason = registry.why_no_preset(preset)
        raise InputError(f"there is no preset named '{preset}'" + (f"; {reason}" if reason else ""))
    text = f"# What the preset {preset} says; or keep only what you change, below a line `base: {preset}`.\n"
    text += to_yaml(load_any(preset, registry=registry))
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise InputError(f"{file}: is there already, and is not overwritten") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from None
    print(f"{file}: written; look at it with: flava-parts explain {file}")
