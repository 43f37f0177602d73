"""Checkpoints of every version that was released can still be read, and mean what they meant."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import flava_parts as fp
from flava_parts.compose import compose
from flava_parts.errors import InputError
from flava_parts.train.checkpoints.loading import newest_checkpoint, open_checkpoint
from flava_parts.train.loop import State

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(params=sorted(path.name for path in GOLDEN.iterdir()))
def golden(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a version: a tiny run's checkpoint after two updates, and what its model then said.

    That of ``0.1.0-parts`` holds the weights alone, as two processes wrote them that had parts of the model.
    """
    monkeypatch.chdir(GOLDEN / request.param)  # the spec names its vocabulary from here
    return GOLDEN / request.param


def test_the_model_says_what_it_said(golden: Path) -> None:
    """Embeddings and match probabilities within 1e-6 of those that the version itself computed."""
    model = fp.load_pretrained(golden)
    ids = torch.tensor([[2, 5, 10, 3, 0, 0, 0, 0], [2, 6, 11, 12, 3, 0, 0, 0]])
    keep = (ids != 0).long()
    pixels = (torch.arange(2 * 3 * 64 * 64) * 0.37).sin().reshape(2, 3, 64, 64)
    with torch.no_grad():
        actual = {
            "image": model.embed_image(pixels),
            "text": model.embed_text(ids, keep),
            "match": model.score_pairs(input_ids=ids, attention_mask=keep, pixel_values=pixels).match_probability,
        }

    for name, expected in load_file(golden / "expected.safetensors").items():
        torch.testing.assert_close(actual[name], expected, rtol=0, atol=1e-6)


def test_the_run_can_go_on(golden: Path) -> None:
    """Weights, averages if there are any, and step come back."""
    path = newest_checkpoint(golden / "checkpoints")
    spec = fp.load_run(path / "spec.yaml")
    model = compose(spec.model, vocab=spec.data.tokenizer.vocab())
    state = State(model=model, optimizer=spec.train.optimizer.build(model=model))
    state.restore(open_checkpoint(path))

    assert 2 == state.step
    for group, tensors in state.tensors().items():
        if not tensors:
            assert not (path / f"{group}.safetensors").exists()
            continue
        stored = load_file(GOLDEN / "0.1.0" / path.relative_to(golden) / f"{group}.safetensors")
        assert stored.keys() == tensors.keys()
        assert all(torch.equal(stored[name], tensor) for name, tensor in tensors.items())


def test_all_files_together_are_small(golden: Path) -> None:
    assert 200_000 > sum(file.stat().st_size for file in golden.rglob("*") if file.is_file())


def test_one_that_was_cut_short_is_told(tmp_path: Path) -> None:
    """Without a manifest, a missing end is still found."""
    path = Path(shutil.copytree(GOLDEN / "0.1.0" / "checkpoints" / "step-00000002", tmp_path / "step-00000002"))
    weights = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(weights[:-1])
    with pytest.raises(InputError, match=r"IS DAMAGED: model\.safetensors cannot be read"):
        newest_checkpoint(tmp_path)
