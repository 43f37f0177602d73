"""P5: contrastive and matching scores of image-text pairs, beside the recipe that everybody copies for transformers."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from .peers import checkpoint, images, ours, texts, theirs
from .rivals import Row, in_turn


def rows(*, smoke: bool, rounds: int) -> Iterator[Row]:
    """Scores of four pairs, compared before anything is timed."""
    folder = checkpoint(smoke=smoke)
    model, peer = ours(folder).eval(), theirs(folder).eval()
    picture, text = images(4), texts([77] * 4)
    # Nothing is hidden; the codebook's pixels and a mask of zeros are what the call insists on.
    recipe = {
        **picture,
        "input_ids": text["input_ids"],
        "input_ids_masked": text["input_ids"],
        "attention_mask": text["attention_mask"],
        "bool_masked_pos": torch.zeros_like(picture["bool_masked_pos"]),
    }

    @torch.no_grad()
    def score_theirs() -> torch.Tensor:
        return peer(**recipe).itm_logits.softmax(dim=-1)[:, 1]

    @torch.no_grad()
    def score_ours() -> torch.Tensor:
        scores = model.score_pairs(text["input_ids"], picture["pixel_values"], text["attention_mask"])
        assert scores.match_probability is not None
        return scores.match_probability

    apart = (score_ours() - score_theirs()).abs().max().item()
    if apart > 1e-5:
        raise AssertionError(f"the scores are {apart} apart")
    own, their = in_turn(score_ours, score_theirs, rounds=rounds, warm_up=0)
    yield Row("P5", "similarity and match probability of 4 pairs", own, their, 2.3, f"probabilities {apart:.1e} apart")
