"""Plugins that are files: modules without a place on Python's path, loaded again where their parts are sent to."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


class _Loader(SourceFileLoader):
    """Marks the modules that were loaded here."""


def load_file(path: str) -> ModuleType:
    """The module in a .py file, which goes by the file's name. Raises whatever it raises."""
    name, place = Path(path).stem, str(Path(path).resolve())
    spec = spec_from_file_location(name, place, loader=_Loader(name, place))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # pydantic resolves annotations through it, and pickle finds classes in it
    spec.loader.exec_module(module)
    return module


class PluginFiles:
    """All files that plugins were loaded from; a process that this is sent to loads them.

    What is sent behind it may be of their classes.
    """

    def __reduce__(self) -> tuple[object, ...]:
        loaders = [getattr(module, "__loader__", None) for module in list(sys.modules.values())]
        return _arrived, ([loader.path for loader in loaders if isinstance(loader, _Loader)],)


def _arrived(paths: list[str]) -> PluginFiles:
    for path in paths:
        load_file(path)
    return PluginFiles()
