"""The hooks that a plugin may implement. Light: what a plugin needs in order to name its parts is here, and no more."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from .part import PartSpec

GROUP = "flava_parts"
"""The name of the project to pluggy, and of the entry points that plugins are found by."""
API = 1
"""The version of the hooks. A plugin says in its module which it was written for: ``FLAVA_PARTS_API = 1``."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)
"""Marks a function of a plugin as the implementation of the hook that it is named after."""


class Hooks:
    """Everything that a plugin may implement."""

    @hookspec
    def flava_parts_specs(self) -> Iterable[type[PartSpec]]:
        """The specs of the parts that the plugin offers.

        Each derives from the abstract spec of its kind (``CodebookSpec``, ``LossSpec``, …) and names itself once,
        ``type: Literal["acme.swin"] = "acme.swin"``, in a namespace of the plugin's own.
        """
        raise NotImplementedError

    @hookspec
    def flava_parts_presets(self) -> Traversable:
        """A folder of YAML files, ``importlib.resources.files(__name__) / "presets"``.

        ``acme.small.yaml`` in it is then usable as ``base: acme.small``.
        """
        raise NotImplementedError
