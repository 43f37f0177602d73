"""The forward pass is one graph for torch.compile, whatever a batch holds; the reference breaks into three to ten."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from reference.oracles import EXACT, Tiny, Tower, assert_close, backward, batch, hugging_face

SMALL = Tower(depth=1)
TINY = Tiny(image=SMALL, text=SMALL, fusion=SMALL)


@pytest.mark.parametrize(
    "combination",
    [
        {"text": False},
        {"image": False, "pads": True, "token_types": True},
        {"pads": True, "itm": [0, 1, 1, 0]},
        {"itm": [0, 0, 0, 0]},
        {"labels": False},
        {"labels": False, "masked": False},
    ],
)
def test_trap_25_the_forward_pass_is_one_graph(combination: dict[str, Any]) -> None:
    model = TINY.ours(hugging_face(TINY, 0).state_dict(), "transformers")
    inputs = batch(TINY, 0, **combination)
    torch.compiler.reset()
    graph = torch.compile(model, backend="eager", fullgraph=True)
    compiled, plain = graph(**inputs), model(**inputs)
    assert compiled.losses.keys() == plain.losses.keys()
    for name, value in plain.losses.items():
        assert_close(value, compiled.losses[name], EXACT.value, name)
        assert torch.equal(plain.counts[name], compiled.counts[name])
    if plain.loss is None:
        return
    gradients = []
    for output in (plain, compiled):
        backward(output.loss, model)
        gradients.append({name: value.grad for name, value in model.named_parameters() if value.grad is not None})
    assert gradients[0].keys() <= gradients[1].keys()
    for name, value in gradients[0].items():
        assert_close(value, gradients[1][name], EXACT.gradient, name)
