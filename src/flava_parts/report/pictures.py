"""The pictures of a finished run: how it learnt, what it finds, what it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.keyed import keyed_generator
from ..train.json_lines import METRICS, read_metrics
from .curves import draw_curves
from .masks import draw_masks
from .retrieval import draw_retrieval

if TYPE_CHECKING:
    from ..evaluate.retrieval import RetrievalResult
    from ..inputs.processor import Processor
    from ..model import FlavaForPreTraining


def draw_pictures(
    folder: Path,
    *,
    model: FlavaForPreTraining,
    processor: Processor,
    results: Mapping[str, RetrievalResult],
    seed: int,
) -> tuple[Path, ...]:
    """Draw what a run's folder can show, as PNG files in it; their paths."""
    drawn: list[Path] = []
    if (folder / METRICS).is_file():
        draw_curves(read_metrics(folder / METRICS), folder / "losses.png")
        drawn.append(folder / "losses.png")
    for name, result in results.items():
        path = folder / f"{name}.png"
        draw_retrieval(result.pictures, result.captions, result.ranked, path)
        drawn.append(path)
    shown = next((result.pictures for result in results.values()), None)
    if shown is not None and model.image_masker is not None and model.codebook is not None:
        views = processor(images=list(shown), return_codebook_pixels=True)
        device = next(model.parameters()).device
        codes = model.codebook(views["codebook_pixel_values"].to(device)).cpu()
        masks = model.image_masker(len(shown), keyed_generator(seed, "pictures"))
        assert model.spec is not None
        grid = model.spec.image_encoder.tokens.grid
        shape = (len(shown), grid.rows, grid.columns)
        draw_masks(
            shown,
            masks.reshape(shape).numpy(),
            codes.reshape(shape).numpy(),
            folder / "masks.png",
            model.spec.codebook.codes.vocab_size if model.spec.codebook else int(codes.max()) + 1,
        )
        drawn.append(folder / "masks.png")
    return tuple(drawn)
