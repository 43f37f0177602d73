"""It learns as the reference does: the same weights, batches and optimiser give the same curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from reference.oracles import Tiny, Tower, hugging_face
from runs import tiny_run
from torch import Tensor, nn

from flava_parts.compose import compose
from flava_parts.data.keyed import keyed_generator
from flava_parts.data.loader import Batch, Batches
from flava_parts.facts import Grid
from flava_parts.train.checkpoints.saving import Checkpoints
from flava_parts.train.interruption import Interruption
from flava_parts.train.loop import State, train
from flava_parts.train.optimizers import adamw
from flava_parts.train.run import CODEBOOK_IMAGES
from flava_parts.train.specs import AdamWSpec, ConstantSpec, PretrainTrainSpec

STEPS = 50
RATE = 1e-3
SIDES = ("data.tokenizer.length=8", "model.text_encoder.length=8", "model.text_encoder.dropout=0")


def recorded() -> list[Batch]:
    """The first batches of the emoji run, small: all four streams, masked, with the codes of a fitted codebook."""
    spec = tiny_run(*SIDES, "train.batch_size=16", steps=STEPS)
    batches = Batches(data=spec.data, model=spec.model, batch_size=16, seed=0)
    codebook = compose(spec.model, vocab=spec.data.tokenizer.vocab()).codebook
    codebook.fit(batches.codebook_pixels(CODEBOOK_IMAGES), keyed_generator(0, "codebook"))
    found: list[Batch] = []
    for step in range(STEPS):
        batch = batches.batch(step)
        tensors = dict(batch.tensors)
        if "codebook_pixel_values" in tensors:
            tensors["mim_labels"] = codebook(tensors.pop("codebook_pixel_values"))
        found.append(batch._replace(tensors=tensors))
    return found


class Heard:
    """An observer that keeps the records."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def begin(self, *, step: int, steps: int) -> None: ...

    def stepped(self, record: Any) -> None:
        self.records.append(dict(record))

    def evaluated(self, record: Any) -> None: ...

    def end(self) -> None: ...


def their_loss(model: Any, batch: Batch) -> Tensor:
    """transformers' sum of losses, or the one that the stream is for. It writes into its labels, so it gets copies."""
    copies = {name: tensor.clone() for name, tensor in batch.tensors.items()}
    if batch.losses == ("global_contrastive",):
        rows, patches = len(copies["pixel_values"]), Grid(4, 4).size
        copies["mim_labels"] = torch.zeros(rows, patches, dtype=torch.int64)  # it insists on labels for any loss
        copies["bool_masked_pos"] = torch.zeros(rows, patches, dtype=torch.bool)
        output = model(**copies, return_loss=True, skip_unmasked_multimodal_encoder=False)
        return output.loss_info.global_contrastive
    return model(**copies, return_loss=True, skip_unmasked_multimodal_encoder=False).loss


def curve_of_transformers(model: Any, batches: list[Batch]) -> list[float]:
    """A loop as short as it can be."""
    optimizer = adamw(model=model, learning_rate=RATE)
    losses: list[float] = []
    for batch in batches:
        loss = their_loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("seed", [0, 1])
def test_the_curve_is_that_of_transformers(seed: int, tmp_path: Path) -> None:
    """Fifty updates on recorded batches of all streams: every loss within 1e-4, and the contrastive one falls."""
    tower = Tower(width=32, depth=2, heads=4, mlp_width=64)
    tiny = Tiny(
        image=tower,
        text=tower,
        fusion=tower,
        grid=Grid(4, 4),
        patch_size=(16, 16),
        projection=32,
        text_vocab=30522,
        codes=16,
    )
    theirs = hugging_face(tiny, seed, torch.float32)
    ours = tiny.ours(theirs.state_dict(), "transformers", torch.float32)
    batches, heard = recorded(), Heard()
    spec = PretrainTrainSpec(
        steps=STEPS, optimizer=AdamWSpec(learning_rate=RATE), schedule=ConstantSpec(), clip_norm=1.0
    )
    with Interruption() as interruption:
        state = State(model=ours, optimizer=spec.optimizer.build(model=ours))
        assert train(state, batches.__getitem__, spec, [heard], Checkpoints(tmp_path / "checkpoints", ""), interruption)
    expected = curve_of_transformers(theirs, batches)
    actual = [record["loss"] for record in heard.records]
    apart = [abs(a - b) / abs(b) for a, b in zip(actual, expected, strict=True)]
    print(f"largest relative distance {max(apart):.1e}, at step {apart.index(max(apart)) + 1}")

    assert {"aligned", "paired", "images", "texts"} == {batch.stream for batch in batches}
    assert max(apart) < 1e-4
    aligned = [loss for loss, batch in zip(actual, batches, strict=True) if batch.stream == "aligned"]
    assert sum(aligned[-5:]) < sum(aligned[:5])
