"""P1, P3 and P4 beside torchmultimodal's FLAVAForPreTraining, same weights; it takes codes from pixels only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from flava_parts.facts import IGNORE
from flava_parts.interop.keys import from_ours

from .peers import checkpoint, images, ours, step, texts
from .rivals import Row, in_turn
from .training import paired

SMOKE = {"width": 32, "depth": 2, "heads": 2, "mlp_width": 64, "codebook": 8}
FULL = {"width": 768, "depth": 12, "heads": 12, "mlp_width": 3072, "codebook": 256}


def theirs(model: nn.Module, *, smoke: bool) -> Any:
    """torchmultimodal's model with the weights of ours."""
    from torchmultimodal.models.flava import model as flava
    from torchmultimodal.modules.losses.flava import FLAVAPretrainingLoss

    size = SMOKE if smoke else FULL
    depths = {"image": size["depth"], "text": size["depth"], "multimodal": 2 if smoke else 6}
    towers: dict[str, Any] = {}
    for name, depth in depths.items():
        towers |= {
            f"{name}_hidden_size": size["width"],
            f"{name}_num_attention_heads": size["heads"],
            f"{name}_num_hidden_layers": depth,
            f"{name}_intermediate_size": size["mlp_width"],
        }
    encoders = flava.flava_model(**towers, text_and_image_proj_size=32 if smoke else 768)
    codebook = nn.Module()
    codebook.encoder = flava.DalleEncoder(n_hid=size["codebook"], vocab_size=8192).requires_grad_(False)
    codebook.forward = lambda pixels: codebook.encoder(pixels).argmax(dim=1)
    peer = flava.FLAVAForPreTraining(
        model=encoders, image_codebook=codebook, loss=FLAVAPretrainingLoss(hidden_size=size["width"])
    )
    found = peer.load_state_dict(from_ours(model.state_dict(), "torchmultimodal"), strict=False)
    if lacking := [name for name in found.missing_keys if "pooler" not in name]:
        raise AssertionError(f"weights that torchmultimodal did not get: {lacking}")
    return peer.train()


def their_step(peer: Any, batch: dict[str, Tensor]) -> float:
    """Forward and backward of a batch under torchmultimodal's names; the loss."""
    labels = batch.get("mlm_labels")
    peer.zero_grad(set_to_none=True)
    output = peer(
        image=batch.get("pixel_values"),
        text=batch.get("input_ids"),
        image_for_codebook=batch.get("codebook_pixel_values"),
        image_patches_mask=batch.get("bool_masked_pos"),
        text_masked=batch.get("input_ids_masked"),
        itm_labels=batch.get("itm_labels"),
        mlm_labels=None if labels is None else labels.masked_fill(labels == IGNORE, -1),
    )
    loss = torch.stack([loss for loss in output.losses.values() if loss is not None]).sum()
    loss.backward()
    return loss.item()


def rows(*, smoke: bool, rounds: int) -> Iterator[Row]:
    """Each line with the relative difference of the two losses, which are compared before anything is timed."""
    model = ours(checkpoint(smoke=smoke))
    peer = theirs(model, smoke=smoke)
    for id, work, batch, target in (
        ("P1", "paired step, 4 pairs, 77 words, codebook computed", paired(), 1.15),
        ("P3", "image step, 4 images, codebook computed", images(4), 1.2),
        ("P4", "text step, 2 texts of 512 tokens", texts([512] * 2), 1.3),
    ):
        expected, actual = their_step(peer, batch), step(model, batch, output_states=False)
        apart = abs(actual - expected) / abs(expected)
        if apart > 1e-4:
            raise AssertionError(f"{id}: the losses differ, {actual} and {expected}")
        taken = in_turn(
            lambda batch=batch: step(model, batch, output_states=False),
            lambda batch=batch: their_step(peer, batch),
            rounds=rounds,
            warm_up=0,
        )
        yield Row(f"{id}t", f"{work}, beside torchmultimodal", *taken, target, f"losses {apart:.1e} apart")
