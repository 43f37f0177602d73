"""What a training step computes and keeps, counted: no clock, so a busy machine cannot hide that it became more."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import flava_parts
from flava_parts.facts import IGNORE
from flava_parts.model import FlavaForPreTraining
from flava_parts.train.planning import Allocations

B, SIDE, PATCHES, L, D, V, CODES = 4, 32, 16, 16, 32, 30522, 64
"""flava.tiny: images of 4x4 patches of 8x8 pixels, two blocks in each encoder, a width of 32."""
N = 1 + PATCHES
FUSED = 1 + N + L
CUT = 2 * B * PATCHES * (3 * 8 * 8) * D
"""Operations of cutting and projecting the patches: multiplications and additions, as everywhere here."""


@pytest.fixture(scope="module")
def model() -> FlavaForPreTraining:
    torch.manual_seed(0)
    return flava_parts.compose(flava_parts.load_spec("flava.tiny")).train()


def batch(model: FlavaForPreTraining, use: str) -> dict[str, Tensor]:
    """A masked batch with stored codes."""
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, Tensor] = {}
    if use != "texts":
        tensors["pixel_values"] = torch.randn(B, 3, SIDE, SIDE, generator=generator)
        tensors["mim_labels"] = torch.randint(CODES, (B, PATCHES), generator=generator)
    if use != "images":
        words = torch.tensor([[3], [7], [4], [5]]) if use == "padded pairs" else L
        tensors["input_ids"] = torch.randint(1000, 30000, (B, L), generator=generator)
        tensors["attention_mask"] = (torch.arange(L) < words).expand(B, L).long()
    return model.mask(tensors, generator)


def block(tokens: int, read: int) -> int:
    """A block's linear layers: keys and values of all tokens; queries, output and MLP of those that are read."""
    return 2 * D * D * (2 * tokens + 10 * read)


def head(labels: int, classes: int) -> int:
    """BERT's prediction head at so many positions."""
    return 2 * labels * (D * D + D * classes)


def labels_of(tensors: dict[str, Tensor]) -> tuple[int, int, int, int]:
    """Labelled patches and words, of all rows and of the row that has most."""
    found = []
    if "bool_masked_pos" in tensors:
        found.append(tensors["bool_masked_pos"].flatten(1).sum(dim=1))
    if "mlm_labels" in tensors:
        found.append((tensors["mlm_labels"] != IGNORE).sum(dim=1))
    patches, words = (*found, torch.zeros(1))[:2] if "bool_masked_pos" in tensors else (torch.zeros(1), found[0])
    return int(patches.sum()), int(patches.max()), int(words.sum()), int(words.max())


def expected(tensors: dict[str, Tensor], use: str) -> int:
    """Operations of all linear layers in a forward pass that leaves out what nobody reads.

    Where a summary alone is read, no keys and values are made (tests/layers/test_attention.py).
    """
    patches, most_patches, words, most_words = labels_of(tensors)
    if use == "images":
        return CUT + block(B * N, B * N) + block(B * N, B * most_patches) + head(patches, CODES)
    if use == "texts":
        return block(B * L, B * L) + block(B * L, B * most_words) + head(words, V)
    real = int(tensors["attention_mask"].sum())  # the first block of each encoder leaves padding out
    towers = sum(
        block(first, first) + block(B * length, B * length) + block(0, B)
        for length, first in ((N, 2 * B * N), (L, 2 * real))
    )
    read = B * (1 + most_patches + most_words)
    first = B * (FUSED - L) + real
    fusion = 2 * B * (N + L) * D * D + block(first, first) + block(B * FUSED, read)
    matching = 2 * B * (D * D + 2 * D)
    contrastive = 2 * 2 * B * D * D + 2 * 2 * B * B * D
    return CUT + towers + fusion + head(patches, CODES) + head(words, V) + matching + contrastive


def counted(counter: FlopCounterMode) -> int:
    """Operations of matrix products; attention's own are counted on some devices only."""
    products = ("aten.addmm", "aten.mm")
    return sum(count for name, count in counter.get_flop_counts()["Global"].items() if str(name) in products)


@pytest.mark.parametrize("use", ["pairs", "padded pairs", "images", "texts"])
def test_a_step_computes_what_the_formula_says_and_nothing_else(model: FlavaForPreTraining, use: str) -> None:
    """Forward as written above; backward twice that, but for pixels, which have no gradient."""
    tensors = batch(model, use)
    with FlopCounterMode(display=False) as forward:
        loss = model(**tensors, output_states=False).loss
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    model.zero_grad(set_to_none=True)

    assert expected(tensors, use) == counted(forward)
    assert 2 * expected(tensors, use) - (CUT if use != "texts" else 0) == counted(backward)


@pytest.mark.parametrize(
    ("use", "calls"),
    [
        ("pairs", {"image_encoder": 1, "text_encoder": 1, "fusion": 1, "codebook": 1}),
        ("images", {"image_encoder": 1, "codebook": 1}),
        ("texts", {"text_encoder": 1}),
    ],
)
def test_each_encoder_is_called_as_often_as_it_must(
    model: FlavaForPreTraining, use: str, calls: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers makes 2 + 2 + 1 calls for pairs, 2 for images, 2 for texts; here clean and masked are one call."""
    tensors = batch(model, use)
    if codes := tensors.pop("mim_labels", None) is not None:
        tensors["codebook_pixel_values"] = torch.rand(B, 3, 16, 16)
        monkeypatch.setattr(model.codebook, "ready", True, raising=False)
    made: Counter[str] = Counter()
    hooks = [
        part.register_forward_pre_hook(lambda *_, name=name: made.update([name]))
        for name, part in model.named_children()
        if name != "losses"
    ]
    model(**tensors, output_states=False)
    for hook in hooks:
        hook.remove()

    assert calls == dict(made)
    assert codes == (use != "texts")


def kept(model: FlavaForPreTraining, tensors: dict[str, Tensor], **asked: Any) -> int:
    """Bytes that a forward pass keeps for its backward pass, weights and inputs not counted."""
    others = {value.untyped_storage()._cdata for value in (*model.parameters(), *model.buffers(), *tensors.values())}
    storages: dict[int, int] = {}
    alive: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in others:
            storages[storage._cdata] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(**tensors, **asked)
    return sum(storages.values())


@pytest.mark.parametrize("use", ["pairs", "images", "texts"])
def test_what_nobody_reads_is_not_kept(model: FlavaForPreTraining, use: str) -> None:
    """The last block of each pass that is narrowed keeps less by what its queries, MLP and norms would have kept."""
    tensors = batch(model, use)
    whole, lean = kept(model, tensors), kept(model, tensors, output_states=False)
    _, most_patches, _, most_words = labels_of(tensors)
    left_out = {
        "images": B * (N - most_patches),
        "texts": B * (L - most_words),
        "pairs": B * (N - 1) + B * (L - 1) + B * (FUSED - 1 - most_patches - most_words),
    }[use]
    # Of each token left out: query, attention's output, the two norms' inputs, the MLP's two hidden states of 4 D.
    assert whole - lean >= 4 * left_out * D * (1 + 1 + 2 + 4 + 4) * 0.9, (whole, lean)


def test_the_same_step_always_takes_the_same(model: FlavaForPreTraining) -> None:
    """Counts depend on nothing but the batch."""
    tensors = batch(model, "pairs")

    assert kept(model, tensors, output_states=False) == kept(model, tensors, output_states=False)


def test_less_lives_at_once(model: FlavaForPreTraining) -> None:
    """The most bytes at once in forward and backward, gradients included, are fewer and always the same.

    Of many pairs: of few, the gradients of the words are more than all that a forward pass keeps.
    """
    tensors = {name: value.repeat(16, *[1] * (value.dim() - 1)) for name, value in batch(model, "pairs").items()}

    def peak(**asked: Any) -> int:
        model.zero_grad(set_to_none=True)
        with Allocations([*model.parameters(), *model.buffers(), *tensors.values()]) as live:
            model(**tensors, **asked).loss.backward()
        return live.peak

    lean = peak(output_states=False)
    assert lean == peak(output_states=False)
    assert lean < peak()
