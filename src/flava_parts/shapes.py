"""Whether the modules that a spec builds have the shapes that it states: a run through them on the meta device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from .compose import compose
from .errors import Loc, Problem
from .facts import Vocab, pair
from .spec import FlavaSpec
from .wiring import wire

_BATCH = 2


def disagreements(spec: FlavaSpec, vocab: Vocab | None = None, *, loc: Loc = ()) -> list[Problem]:
    """Every part whose module fails on the meta device, or returns another shape than the part's facts say.

    ``loc`` is the path of the model in its document. Raises SpecError as `compose` does.
    """
    return [replace(problem, loc=(*loc, *problem.loc)) for problem in _disagreements(spec, vocab)]


def _disagreements(spec: FlavaSpec, vocab: Vocab | None) -> Iterator[Problem]:
    wiring = wire(spec, vocab)
    model = compose(spec, device="meta", vocab=vocab)
    image, text = wiring.image, wiring.text
    pixels = torch.empty(_BATCH, spec.image_encoder.channels, *pair(wiring.image_size), device="meta")
    masked = torch.empty(_BATCH, image.grid.size, dtype=torch.bool, device="meta")
    ids = torch.empty(_BATCH, text.length, dtype=torch.long, device="meta")
    image_states = (_BATCH, image.length, image.width)
    text_states = (_BATCH, text.length, text.width)
    yield from _compared(("image_encoder",), image_states, lambda: model.image_encoder(pixels).pre_norm)
    if getattr(spec.image_encoder, "mask_token", True):
        yield from _compared(
            ("image_encoder",), image_states, lambda: model.image_encoder(pixels, masked).last_hidden_state
        )
    yield from _compared(("text_encoder",), text_states, lambda: model.text_encoder(ids, torch.ones_like(ids)).pre_norm)
    if model.fusion is not None and wiring.layout is not None:
        fusion = model.fusion
        states = torch.empty(image_states, device="meta"), torch.empty(text_states, device="meta")
        fused = (_BATCH, wiring.layout.length, wiring.layout.width)
        yield from _compared(("fusion",), fused, lambda: fusion(*states).last_hidden_state)
    if model.codebook is not None and spec.codebook is not None and wiring.codes is not None:
        codebook = model.codebook
        view = torch.empty(_BATCH, spec.codebook.channels, *pair(spec.codebook.image_size), device="meta")
        yield from _compared(("codebook",), (_BATCH, wiring.codes.grid.size), lambda: codebook(view))


def _compared(loc: Loc, stated: tuple[int, ...], run: Callable[[], Any]) -> Iterator[Problem]:
    try:
        real = tuple(run().shape)
    except Exception as error:  # whatever a part raises is what is wrong with it
        yield Problem(loc, f"fails on the meta device: {type(error).__name__}: {' '.join(str(error).split())}")
        return
    if real != stated:
        yield Problem(loc, f"states {stated} but returns {real}")
