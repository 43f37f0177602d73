"""Parts in a project that builds everything from its own configs: a factory as mmengine, Ludwig or torchtune have one.

The host's config names a part by its `type` and gives fields; our specs check them, and `build` returns the module. The
host keeps its own registry, its own file format and its own error handling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import flava_parts as fp

BUILDERS: dict[str, Callable[..., nn.Module]] = {"Linear": nn.Linear, "Conv2d": nn.Conv2d}
"""The host's own modules."""


def build(config: dict[str, Any], **given: Any) -> nn.Module:
    """The module that a config names; ``given`` is what `build` of its kind asks for. Raises ValueError if wrong."""
    fields = dict(config)
    name = fields.pop("type")
    if name in BUILDERS:
        return BUILDERS[name](**fields)
    spec = fp.default_registry().get(name)
    if spec is None:
        raise ValueError(f"no module named {name!r}")
    return spec(**fields).build(**given)  # a wrong field is pydantic's ValidationError, which is a ValueError


class Detector(nn.Module):
    """A host's model of one of our encoders and one of its own layers."""

    def __init__(self, *, backbone: dict[str, Any], head: dict[str, Any]) -> None:
        super().__init__()
        self.backbone, self.head = build(backbone), build(head)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(pixels).last_hidden_state)


def flava_vit_tiny() -> nn.Module:
    """A builder in torchtune's style: a function without arguments for one size."""
    return build({"type": "flava.vit", "image_size": 32, "patch_size": 8, "width": 32, "depth": 2, "heads": 2})


if __name__ == "__main__":
    torch.manual_seed(0)
    vit = {"type": "flava.vit", "image_size": 32, "patch_size": 8, "width": 32, "depth": 1, "heads": 2}
    detector = Detector(backbone=vit, head={"type": "Linear", "in_features": 32, "out_features": 6})
    print(f"detector {tuple(detector(torch.rand(2, 3, 32, 32)).shape)}")
    print(f"tiny {sum(weight.numel() for weight in flava_vit_tiny().parameters())} parameters")
    masker = build(
        {"type": "flava.block", "total": 6, "min_group": 2}, grid=fp.wire(fp.load_spec("flava.tiny")).image.grid
    )
    print(f"hidden {masker(4, torch.Generator().manual_seed(0)).sum(1).max().item()} patches at most")
    try:
        build({"type": "flava.vit", "widht": 32})
    except ValueError as error:
        print(f"refused: {str(error).splitlines()[1]}")
