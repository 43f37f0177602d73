"""``flava-parts score``: which text fits a picture?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .models import Device, Model, opened
from .options import Json, Plugins
from .tables import table


def score(
    picture: Annotated[Path, typer.Argument(help="A JPEG, PNG or WebP picture.")],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="What it may show.")],
    model: Model,
    device: Device = None,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Say how well each text fits a picture: cosine of the embeddings, and probability of a match. The best first."""
    import torch

    using, processor = opened(model, device, plugins)
    batch = processor(images=[picture], text=texts, padding=True)
    batch = {name: tensor.to(next(using.parameters()).device) for name, tensor in batch.items()}
    with torch.inference_mode():
        ranking = using.rank(**batch, k=len(texts))
    match = ranking.match_probability
    probabilities: list[float | None] = [None] * len(texts) if match is None else match[0].tolist()
    best = [texts[index] for index in ranking.indices[0].tolist()]
    rows = list(zip(ranking.similarity[0].tolist(), probabilities, best, strict=True))
    if as_json:
        names = ("similarity", "match_probability", "text")
        scores = [dict(zip(names, row, strict=True)) for row in rows]
        print(json.dumps({"picture": str(picture), "scores": scores}, indent=2))
    else:
        cells = [(f"{cosine:.3f}", "" if match is None else f"{match:.3f}", text) for cosine, match, text in rows]
        print(table(("similarity", "match", "text"), cells))
