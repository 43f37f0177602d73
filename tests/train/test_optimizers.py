"""What decays, and how the learning rate changes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flava_parts.compose import compose
from flava_parts.loading import load_spec
from flava_parts.train.optimizers import adamw
from flava_parts.train.schedules import WarmupCosine


def test_only_matrices_decay():
    """Norms, biases, embeddings and lone tokens are in the group without decay; frozen codebooks in none."""
    model = compose(load_spec("flava.tiny"), device="meta")
    decayed, plain = (
        {name for name, p in model.named_parameters() if any(p is q for q in group["params"])}
        for group in adamw(model=model, weight_decay=0.1).param_groups
    )

    assert set(dict(model.named_parameters())) == decayed | plain
    assert not decayed & plain
    assert "image_encoder.blocks.0.attention.query.weight" in decayed
    assert "losses.mlm.head.decoder.weight" in decayed
    for name in (
        "image_encoder.cls_token",
        "image_encoder.position_embedding",
        "text_encoder.word_embedding.weight",
        "image_encoder.norm.weight",
        "image_encoder.blocks.0.mlp.up.bias",
        "losses.global_contrastive.logit_scale",
    ):
        assert name in plain


@given(warmup=st.integers(0, 50), more=st.integers(1, 100), final=st.floats(0, 1))
def test_warmup_rises_to_one_and_the_cosine_falls_to_final(warmup, more, final):
    schedule = WarmupCosine(steps=warmup + more, warmup=warmup, final=final)
    factors = [schedule(step) for step in range(warmup + more + 1)]

    assert factors[:warmup] == sorted(factors[:warmup])
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
    assert 1 == pytest.approx(factors[warmup])
    assert final == pytest.approx(factors[-1])
    assert all(math.isfinite(factor) and 0 <= factor <= 1 + 1e-12 for factor in factors)
