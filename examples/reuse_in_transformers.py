"""Parts inside a transformers model: the spec lies in its config, and `save_pretrained` and `from_pretrained` work."""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

from flava_parts.encoders.specs import ViTSpec


class FlavaViTConfig(PretrainedConfig):
    """``vit`` are the fields of `ViTSpec`; they are checked when the config is made."""

    model_type = "flava_parts_vit"

    def __init__(self, vit: dict[str, Any] | None = None, **options: Any) -> None:
        self.vit = ViTSpec(**(vit or {})).arguments()
        super().__init__(**options)


class FlavaViTForImageClassification(PreTrainedModel):
    """Pixels (B, 3, H, W) to logits (B, num_labels)."""

    config_class = FlavaViTConfig
    main_input_name = "pixel_values"

    def __init__(self, config: FlavaViTConfig) -> None:
        super().__init__(config)
        self.vit = ViTSpec(**config.vit).build()
        self.classifier = nn.Linear(self.vit.width, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Parts start their own weights."""

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> ImageClassifierOutput:
        logits = self.classifier(self.vit(pixel_values).last_hidden_state[:, 0])
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)


if __name__ == "__main__":
    torch.manual_seed(0)
    fields = {"image_size": 32, "patch_size": 8, "width": 32, "depth": 2, "heads": 2}
    model = FlavaViTForImageClassification(FlavaViTConfig(vit=fields, num_labels=5)).eval()
    pixels = torch.rand(3, 3, 32, 32)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        model.save_pretrained(folder)
        again = FlavaViTForImageClassification.from_pretrained(folder).eval()
        print(f"logits {tuple(again(pixels).logits.shape)}")
        print(f"largest difference {float((model(pixels).logits - again(pixels).logits).abs().max())}")
