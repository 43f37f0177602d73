"""FLAVA in parts: models composed from a YAML spec, with every part replaceable.

The public names are found when they are first used; importing the package imports next to nothing, and never torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compose import compose as compose
    from .errors import FlavaPartsError as FlavaPartsError
    from .errors import InputError as InputError
    from .errors import PluginError as PluginError
    from .errors import Problem as Problem
    from .errors import SpecError as SpecError
    from .hooks import hookimpl as hookimpl
    from .interop.finetuned import load_finetuned as load_finetuned
    from .interop.pretrained import load_part as load_part
    from .interop.pretrained import load_pretrained as load_pretrained
    from .interop.pretrained import load_processor as load_processor
    from .interop.saving import save_part as save_part
    from .interop.saving import save_pretrained as save_pretrained
    from .loading import load_any as load_any
    from .loading import load_finetune as load_finetune
    from .loading import load_run as load_run
    from .loading import load_spec as load_spec
    from .part import PartSpec as PartSpec
    from .plugins import default_registry as default_registry
    from .plugins import load_registry as load_registry
    from .registry import Registry as Registry
    from .spec import FinetuneSpec as FinetuneSpec
    from .spec import FlavaSpec as FlavaSpec
    from .spec import RunSpec as RunSpec
    from .wiring import wire as wire
    from .writing import to_yaml as to_yaml

__version__ = "0.1.0"

_HOMES = {
    "compose": "compose",
    "FlavaPartsError": "errors",
    "InputError": "errors",
    "PluginError": "errors",
    "Problem": "errors",
    "SpecError": "errors",
    "load_finetuned": "interop.finetuned",
    "load_part": "interop.pretrained",
    "load_pretrained": "interop.pretrained",
    "load_processor": "interop.pretrained",
    "save_part": "interop.saving",
    "save_pretrained": "interop.saving",
    "load_any": "loading",
    "load_finetune": "loading",
    "load_run": "loading",
    "load_spec": "loading",
    "PartSpec": "part",
    "default_registry": "plugins",
    "hookimpl": "hooks",
    "load_registry": "plugins",
    "Registry": "registry",
    "FinetuneSpec": "spec",
    "FlavaSpec": "spec",
    "RunSpec": "spec",
    "wire": "wiring",
    "to_yaml": "writing",
}
"""The module in which each public name is defined."""

__all__ = ["__version__", *_HOMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """This package. Importing its module ``compose`` does not hide its function ``compose``."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
