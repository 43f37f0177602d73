"""P1, P3 and P4 beside torchmultimodal's FLAVAForPreTraining, same weights; it takes codes from pixels only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from flava_parts.facts import IGNORE
from flava_parts.interop.keys import from_ours

from .rivals import Row
from .steps import Stepper, in_turn


def peer(model: Any) -> Any:
    """torchmultimodal's model with the weights of ours."""
    from torchmultimodal.models.flava import model as flava
    from torchmultimodal.modules.losses.flava import FLAVAPretrainingLoss

    towers: dict[str, Any] = {}
    for name, part in (
        ("image", model.image_encoder),
        ("text", model.text_encoder),
        ("multimodal", model.fusion),
    ):
        towers |= {
            f"{name}_hidden_size": part.width,
            f"{name}_num_attention_heads": part.heads,
            f"{name}_num_hidden_layers": len(part.blocks),
            f"{name}_intermediate_size": part.blocks[0].mlp.up.out_features,
        }
    encoders = flava.flava_model(**towers, text_and_image_proj_size=model.image_encoder.width)
    codebook = nn.Module()
    width = model.codebook.input.out_channels
    codebook.encoder = flava.DalleEncoder(n_hid=width, vocab_size=8192).requires_grad_(False)
    codebook.forward = lambda pixels: codebook.encoder(pixels).argmax(dim=1)
    found = flava.FLAVAForPreTraining(
        model=encoders, image_codebook=codebook, loss=FLAVAPretrainingLoss(hidden_size=model.image_encoder.width)
    )
    state = found.load_state_dict(from_ours(model.state_dict(), "torchmultimodal"), strict=False)
    if lacking := [name for name in state.missing_keys if "pooler" not in name]:
        raise AssertionError(f"weights that torchmultimodal did not get: {lacking}")
    return found.train()


def loss_of(peer: Any, batch: dict[str, Tensor]) -> Tensor:
    """The loss of a batch under torchmultimodal's names."""
    labels = batch.get("mlm_labels")
    output = peer(
        image=batch.get("pixel_values"),
        text=batch.get("input_ids"),
        image_for_codebook=batch.get("codebook_pixel_values"),
        image_patches_mask=batch.get("bool_masked_pos"),
        text_masked=batch.get("input_ids_masked"),
        itm_labels=batch.get("itm_labels"),
        mlm_labels=None if labels is None else labels.masked_fill(labels == IGNORE, -1),
    )
    return torch.stack([loss for loss in output.losses.values() if loss is not None]).sum()


def rows(*, smoke: bool, rounds: int) -> Iterator[Row]:
    """Each line with the relative difference of the two losses, which are compared before anything is timed."""
    from .peers import checkpoint, images, texts
    from .training import paired

    folder = checkpoint(smoke=smoke)
    with Stepper("ours", folder) as ours, Stepper("torchmultimodal", folder) as theirs:
        for id, work, batch, target in (
            ("P1", "paired step, 4 pairs, 77 words, codebook computed", paired(), 1.15),
            ("P3", "image step, 4 images, codebook computed", images(4), 1.2),
            ("P4", "text step, 2 texts of 512 tokens", texts([512] * 2), 1.3),
        ):
            apart, *taken = in_turn(ours, theirs, batch, batch, rounds=rounds)
            note = f"losses {apart:.1e} apart"
            yield Row(f"{id}t", f"{work}, beside torchmultimodal", *taken, target, note)
