"""transformers' text encoders as text encoders."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from flava_parts.layers.output import EncoderOutput

from .calls import read
from .facts import text_tokens
from .source import model


class TextTower(nn.Module):
    """A model of transformers; the states before and after its last norm are both its ``last_hidden_state``."""

    def __init__(self, *, config: dict[str, Any] | None = None, folder: str | None = None) -> None:
        super().__init__()
        self.length = text_tokens(config, folder).length
        self.model = model(config, folder)
        self.takes = frozenset(inspect.signature(self.model.forward).parameters)
        pooler = getattr(self.model, "pooler", None)
        if pooler is not None:
            pooler.requires_grad_(False)

    def forward(
        self,
        ids: Tensor,
        keep: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        head_mask: Tensor | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> EncoderOutput:
        """Ids (B, L) to states (B, L, D).

        ``keep`` (B, L) is false or 0 at padding. Raises ValueError if the text is too long, for segments or positions
        that the model does not take, and for ``head_mask``, attention weights and states between blocks.
        """
        if ids.dim() != 2 or ids.shape[1] > self.length:
            raise ValueError(f"ids should be (B, L) with L at most {self.length}, not {tuple(ids.shape)}")
        given = {"token_type_ids": token_type_ids, "position_ids": position_ids}
        given = {name: value for name, value in given.items() if value is not None}
        asked = {
            "head_mask": head_mask is not None,
            "output_attentions": output_attentions,
            "output_hidden_states": output_hidden_states,
            **{name: name not in self.takes for name in given},
        }
        if refused := [name for name, wanted in asked.items() if wanted]:
            raise ValueError(f"transformers' {type(self.model).__name__} has no {' and no '.join(refused)} here")
        states = read(self.model, ids, keep, **given).last_hidden_state
        return EncoderOutput(pre_norm=states, last_hidden_state=states)
