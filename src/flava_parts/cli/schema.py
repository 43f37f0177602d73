"""``flava-parts schema``: for editors that check while one types."""

from __future__ import annotations

import json

from .options import Plugins, registry_with


def schema(plugins: Plugins = None) -> None:
    """Print the JSON schema of model and run files, over every registered part.

    Keep it in a file and begin yours with `# yaml-language-server: $schema=./flava.schema.json`.
    """
    from ..schema import json_schema

    print(json.dumps(json_schema(registry_with(plugins)), indent=2))
