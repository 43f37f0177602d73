"""The sigmoid loss: against the formula, against open_clip, in chunks, over two ranks, and in a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import flava_parts_siglip
import pytest
import torch
from flava_parts_siglip.sigmoid import SigmoidContrastive
from flava_parts_siglip.specs import SigmoidContrastiveSpec
from pairs import RANKS, ROWS, gradients, loss, streams
from torch import Tensor
from torch.nn import functional as F

import flava_parts as fp
from flava_parts.facts import Streams
from flava_parts.testing import check_part

REGISTRY = fp.load_registry(plugins=[flava_parts_siglip])

SHORT = ["train.steps=3", "train.batch_size=4", "evaluate.retrieval=null"]
SHORT += [f"data.streams.{name}.batch_size=4" for name in ("paired", "images", "texts")]


def vectors(module: SigmoidContrastive, given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return module.embed_image(given[Streams.IMAGE_SUMMARY]), module.embed_text(given[Streams.TEXT_SUMMARY])


def by_hand(module: SigmoidContrastive, given: dict[str, Tensor], keep: list[int]) -> Tensor:
    """The formula, a pair at a time: log(1 + exp(-z l)) summed over the rows in ``keep``, divided by their number."""
    image, text = vectors(module, given)
    total = torch.zeros((), dtype=torch.float64)
    for i in keep:
        for j in keep:
            logit = module.logit_scale.exp() * (image[i] * text[j]).sum() + module.logit_bias
            total = total + (1 + (-logit if i == j else logit).exp()).log()
    return total / len(keep)


@pytest.mark.parametrize("chunk", [1, 4, 6, 100])
def test_value_and_gradient_are_the_formula_s(chunk: int) -> None:
    """Whatever the chunk, uneven ones included; float64."""
    module, given = loss(chunk), streams()
    expected = by_hand(module, given, list(range(ROWS)))
    value = module(given).value

    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients(module, value), gradients(module, expected))


def test_value_and_gradient_are_open_clip_s() -> None:
    """The same vectors, scale and bias in open_clip's SigLipLoss."""
    published_loss = pytest.importorskip("open_clip.loss")
    module, given = loss(chunk=4), streams()
    published = published_loss.SigLipLoss()(*vectors(module, given), module.logit_scale.exp(), module.logit_bias)
    value = module(given).value

    torch.testing.assert_close(value, published)
    torch.testing.assert_close(gradients(module, value), gradients(module, published))


def test_mismatched_rows_are_left_out() -> None:
    """Neither their images nor their texts count; without any true pair the loss is a 0 with a graph."""
    module, given = loss(chunk=2), streams()
    given[Streams.MATCHED] = torch.tensor([True, False, True, True, False, True])
    value = module(given)

    assert 4 == value.count.item()
    torch.testing.assert_close(value.value, by_hand(module, given, [0, 2, 3, 5]))

    none = module(given | {Streams.MATCHED: torch.zeros(ROWS, dtype=torch.bool)})
    assert (0, 0) == (none.count.item(), none.value.item())
    assert all(not gradient.any() for gradient in gradients(module, none.value).values())


def test_the_logits_are_dense_where_they_are_asked_for() -> None:
    """Per image, per text: one the transpose of the other, and the loss is the same."""
    module, given = loss(), streams()
    dense, plain = module(given, dense=True), module(given)
    image, text = vectors(module, given)

    torch.testing.assert_close(dense.logits[0], module.logit_scale.exp() * image @ text.T + module.logit_bias)
    torch.testing.assert_close(dense.logits[0], dense.logits[1].T)
    assert plain.logits is None
    assert torch.equal(dense.value, plain.value)


def largest_tensor(chunk: int, rows: int) -> int:
    """Elements of the largest tensor that a forward pass keeps for backward."""
    kept: list[int] = []
    module = loss(chunk)

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module(streams(rows))
    return max(kept)


def test_the_matrix_of_all_pairs_is_never_kept() -> None:
    """What backward keeps grows with the rows, not with their square."""
    assert largest_tensor(16, 64) < 64 * 16
    assert largest_tensor(16, 128) == 2 * largest_tensor(16, 64)


def test_two_ranks_are_one_with_the_whole_batch(tmp_path: Path) -> None:
    """The mean of two gloo processes' losses and gradients, as data-parallel training takes it."""
    script = Path(__file__).with_name("one_rank.py")
    paths = os.pathsep.join(path for path in sys.path if path)
    processes = [
        subprocess.Popen([sys.executable, script, str(rank), tmp_path], env=os.environ | {"PYTHONPATH": paths})
        for rank in range(RANKS)
    ]
    try:
        assert [0] * RANKS == [process.wait(timeout=100) for process in processes]
    finally:
        for process in processes:
            process.kill()
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(RANKS)]
    module = loss()
    whole = module(streams()).value
    mean = {
        name: sum(torch.tensor(rank["gradients"][name], dtype=torch.float64) for rank in ranks) / RANKS
        for name in ranks[0]["gradients"]
    }

    assert [[0, 1, 2], [3, 4, 5]] == [rank["targets"] for rank in ranks]
    torch.testing.assert_close(sum(rank["value"] for rank in ranks) / RANKS, whole.item())
    torch.testing.assert_close(mean, gradients(module, whole))


def test_it_starts_where_the_paper_starts() -> None:
    """t' = ln 10, b = -10: at the start the loss is that of the positives alone, nearly."""
    spec = SigmoidContrastiveSpec()
    given = {
        Streams.IMAGE_SUMMARY: F.normalize(torch.randn(64, 5, dtype=torch.float64)),
        Streams.TEXT_SUMMARY: F.normalize(torch.randn(64, 4, dtype=torch.float64)),
    }
    module = SigmoidContrastive(
        image_width=5, text_width=4, **{**spec.arguments(), "projection": 32, "init_std": 0.02}
    ).double()

    assert 10 == pytest.approx(module.logit_scale.exp().item(), rel=1e-4)
    assert 8 < module(given).value.item() < 12


def test_the_kind_s_contract() -> None:
    """By the conformance suite."""
    assert [] == [str(check) for check in check_part(SigmoidContrastiveSpec(projection=8)).failed]


def test_the_emoji_run_trains(tmp_path: Path) -> None:
    """A few steps of the preset, from file to checkpoint."""
    from flava_parts.train.run import run

    spec = fp.load_run("siglip.emoji", registry=REGISTRY, set=SHORT)

    assert 3 == run(spec, tmp_path, registry=REGISTRY).step
