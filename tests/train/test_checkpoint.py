"""What a checkpoint gives back, and what it refuses."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from flava_parts.errors import InputError
from flava_parts.train.checkpoint import (
    MODEL,
    load_model,
    load_optimizer,
    newest_checkpoint,
    save_checkpoint,
    step_of,
)


def trained(seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model and an optimiser after one update."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.fixture
def checkpoint(tmp_path):
    model, optimizer = trained()
    return save_checkpoint(tmp_path, step=7, model=model, optimizer=optimizer, spec_yaml="{}\n")


def test_model_and_optimizer_come_back_bit_for_bit(checkpoint):
    """Two that continue from it make the same next update."""
    first, first_optimizer = trained()
    second, second_optimizer = trained(seed=1)
    load_model(checkpoint, second)
    load_optimizer(checkpoint, second, second_optimizer)
    for model, optimizer in ((first, first_optimizer), (second, second_optimizer)):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()

    assert 7 == step_of(checkpoint)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("1.bias"), "1.bias is missing"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), "extra is unexpected"),
        (lambda tensors: tensors.update({"0.weight": torch.zeros(4, 5)}), r"0.weight is \(4, 5\), not \(4, 3\)"),
    ],
)
def test_tensors_that_do_not_fit_are_named_and_nothing_is_loaded(checkpoint, change, message):
    """Never a silently random weight: all or nothing."""
    tensors = load_file(checkpoint / MODEL)
    change(tensors)
    save_file(tensors, checkpoint / MODEL)
    model, _ = trained(seed=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InputError, match=message):
        load_model(checkpoint, model)

    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_what_is_unfinished_is_no_checkpoint(checkpoint, tmp_path):
    """A save that was cut short leaves a hidden folder, which the next save of that step replaces."""
    unfinished = tmp_path / ".tmp-step-00000009"
    unfinished.mkdir()
    (unfinished / MODEL).write_bytes(b"half")

    assert checkpoint == newest_checkpoint(tmp_path)
    model, optimizer = trained()
    saved = save_checkpoint(tmp_path, step=9, model=model, optimizer=optimizer, spec_yaml="{}\n")
    assert saved == newest_checkpoint(tmp_path)
    assert not unfinished.exists()


def test_a_folder_without_checkpoints_has_none(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    assert newest_checkpoint(tmp_path / "missing") is None
