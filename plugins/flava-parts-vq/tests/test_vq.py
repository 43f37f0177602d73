"""Trainable codebooks: the quantisers by hand, what a fit gives, the verb, and runs of a few steps."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import Any

import flava_parts_vq
import pytest
import torch
from flava_parts_vq.cli import codebook as codebook_verbs
from flava_parts_vq.quantisers import Nearest, Residual, Rounded
from flava_parts_vq.specs import FSQSpec, ResidualVQSpec, VQSpec
from torch import Tensor
from typer.testing import CliRunner

import flava_parts as fp
from flava_parts.errors import InputError
from flava_parts.testing import check_part

REGISTRY = fp.load_registry(plugins=[flava_parts_vq])
SIZES: dict[str, Any] = {
    "image_size": (8, 12),
    "patch_size": 4,
    "width": 16,
    "blocks": 1,
    "steps": 300,
    "learning_rate": 0.01,
}
SPECS = [
    VQSpec(**SIZES, vocab_size=12, code_width=4),
    ResidualVQSpec(**SIZES, stages=2, stage_size=4, code_width=4),
    FSQSpec(**SIZES, levels=(4, 3)),
]
IDS = ["vq", "residual", "fsq"]

SHORT = ["train.steps=3", "train.batch_size=4", "evaluate.retrieval=null", "model.codebook.steps=3"]
SHORT += [f"data.streams.{name}.batch_size=4" for name in ("paired", "images", "texts")]


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 60) -> Tensor:
    """Patches of one of four colours, with a little noise."""
    colours = torch.tensor([[0.1, 0.1, 0.1], [0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.9, 0.9, 0.9]])
    chosen = colours[torch.randint(4, (count, 2, 3), generator=draws())].permute(0, 3, 1, 2)
    flat = chosen.repeat_interleave(4, 2).repeat_interleave(4, 3)
    return (flat + 0.02 * torch.randn(flat.shape, generator=draws(1))).clamp(0, 1)


def test_the_nearest_vector_is_chosen_and_follows() -> None:
    """One step by hand: counts and totals are moving averages, the vector their ratio (equations 6 to 8)."""
    nearest = Nearest(size=2, width=1, decay=0.75, commitment=0.5)
    nearest.vectors.data.copy_(torch.tensor([[0.0], [10.0]]))
    nearest.total.copy_(nearest.vectors)
    given = torch.tensor([[1.0], [2.0], [8.0]], requires_grad=True)
    found = nearest(given, draws())
    found.vectors.sum().backward()

    assert [0, 0, 1] == found.codes.tolist()
    assert [[0.0], [0.0], [10.0]] == found.vectors.tolist()
    assert [[1.0]] * 3 == given.grad.tolist()
    assert 0.5 * (1 + 4 + 4) / 3 == pytest.approx(found.loss.item())
    # counts 0.75 + 0.25 * (2, 1); totals 0.75 * (0, 10) + 0.25 * (3, 8)
    assert [[0.75 / 1.25], [9.5 / 1.0]] == [pytest.approx(each) for each in nearest.vectors.tolist()]


def test_a_vector_that_nothing_follows_starts_again() -> None:
    """At one of the batch's, so that all are used in the end."""
    nearest = Nearest(size=8, width=1, decay=0.5, commitment=0.25)
    nearest.vectors.data.copy_(torch.linspace(100, 800, 8)[:, None])
    nearest.total.copy_(nearest.vectors)
    given = torch.linspace(0, 1, 64)[:, None]
    for step in range(60):
        nearest(given, draws(step))

    assert nearest.vectors.max() <= 1.01
    assert 8 == len(nearest.assign(given).unique())


def test_residual_codes_are_digits() -> None:
    """Each stage quantises what the ones before left; reading adds them up."""
    residual = Residual(stages=2, size=2, width=1, decay=0.9, commitment=0.25)
    for stage, vectors in zip(residual._stages(), ([[0.0], [10.0]], [[-1.0], [1.0]]), strict=True):
        stage.vectors.data.copy_(torch.tensor(vectors))
    codes = residual.assign(torch.tensor([[-2.0], [0.4], [9.5], [12.0]]))

    assert [0, 2, 1, 3] == codes.tolist()
    assert [[-1.0], [1.0], [9.0], [11.0]] == residual.read(codes).tolist()


@pytest.mark.parametrize("levels", [(2,), (3,), (8, 5, 5), (4, 3, 2)])
def test_rounding_gives_each_code_its_vector(levels: tuple[int, ...]) -> None:
    """As many codes as the product of the levels, all reached, each the number of its levels; and the vectors of
    training are those that are read."""
    rounded = Rounded(levels)
    reach = torch.cartesian_prod(*[torch.linspace(-9, 9, 8 * each) for each in levels]).reshape(-1, len(levels))
    codes = rounded.assign(reach)
    count = torch.tensor(levels).prod().item()
    by_hand = [
        sum(d * p for d, p in zip(digits, places(levels), strict=True)) for digits in product(*map(range, levels))
    ]

    assert list(range(int(count))) == sorted(by_hand) == codes.unique().tolist()
    torch.testing.assert_close(rounded.read(codes), rounded(reach, draws()).vectors)
    assert rounded.read(codes).abs().max() <= 1


def places(levels: tuple[int, ...]) -> list[int]:
    return [int(torch.tensor(levels[:place]).prod()) if place else 1 for place in range(len(levels))]


def test_rounding_keeps_what_is_rounded_already() -> None:
    """An odd number of levels lies symmetrically about zero; the gradient passes (section 3.1)."""
    given = torch.zeros(1, 1, requires_grad=True)
    found = Rounded((5,))(given, draws())
    found.vectors.sum().backward()

    assert ([2], [[0.0]]) == (found.codes.tolist(), found.vectors.tolist())
    assert given.grad.item() == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_a_fit_learns_to_rebuild_pictures(spec: Any) -> None:
    """Far better than the mean picture does; the same generator gives the same codebook, another one another."""
    fitted = spec.build().fit(pictures(), draws())
    codes = fitted(pictures())
    error = (fitted.rebuild(codes) - pictures()).square().mean()

    assert error < 0.2 * (pictures() - pictures().mean((0, 2, 3), keepdim=True)).square().mean()
    assert 4 <= len(codes.unique()) <= spec.codes.vocab_size
    again, other = (spec.build().fit(pictures(), draws(seed)).state_dict() for seed in (0, 1))
    assert all(torch.equal(value, again[name]) for name, value in fitted.state_dict().items())
    assert any(not torch.equal(value, other[name]) for name, value in fitted.state_dict().items())


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_weights_go_through_a_file(spec: Any, tmp_path: Path) -> None:
    """What is named as weights gives the same codes, and needs no fit; an unfitted one says what to do."""
    path = tmp_path / "codebook.safetensors"
    with pytest.raises(InputError, match="has not been fitted"):
        spec.build()(pictures(1))
    fitted = spec.build().fit(pictures(), draws())
    fitted.save(path)
    named = spec.model_copy(update={"weights": str(path)})

    assert torch.equal(fitted(pictures()), named.build()(pictures()))
    assert not named.learns_from_images
    with pytest.raises(InputError, match="weights of another codebook"):
        named.model_copy(update={"width": 8}).build()


def test_bad_images_say_so() -> None:
    """None at all, of another size, not finite."""
    codebook = SPECS[0].build()
    with pytest.raises(InputError, match="at least one image"):
        codebook.fit(pictures(0), draws())
    with pytest.raises(InputError, match=r"pixels of shape \(B, 3, 8, 12\)"):
        codebook.fit(torch.rand(2, 3, 8, 8), draws())
    with pytest.raises(InputError, match="without NaN"):
        codebook.fit(pictures(2) * float("nan"), draws())


@pytest.mark.parametrize("spec", SPECS, ids=IDS)
def test_the_kind_s_contract(spec: Any) -> None:
    """By the conformance suite."""
    assert [] == [str(check) for check in check_part(spec.model_copy(update={"steps": 20})).failed]


def test_the_verb_fits_what_the_run_would(tmp_path: Path) -> None:
    """The file is read as the weights of the same run; what cannot be fitted says so."""
    path = tmp_path / "deep" / "codebook.safetensors"
    changes = [argument for change in SHORT for argument in ("--set", change)]
    options = ["-p", "flava_parts_vq", "--images", "40", *changes]
    done = CliRunner().invoke(codebook_verbs, ["fit", "vq.emoji", "--out", str(path), *options])

    assert 0 == done.exit_code, done.output
    assert "fitted on 40 pictures: " in done.output
    assert path.is_file()
    spec = fp.load_run("vq.emoji", registry=REGISTRY, set=[*SHORT, f"model.codebook.weights={path}"])
    assert spec.model.codebook is not None
    assert spec.model.codebook.build().ready
    named = CliRunner().invoke(codebook_verbs, ["fit", "vq.emoji", *options, "--set", f"model.codebook.weights={path}"])
    assert isinstance(named.exception, InputError)
    assert "vq.vq has nothing to fit, or weights already" == str(named.exception)


def test_the_verb_is_offered_without_the_parts() -> None:
    """To the command line, under its name: help does not wait for torch, nor for the specs."""
    import subprocess

    code = "import sys; sys.path[:0] = {path!r}; from flava_parts_vq.cli import codebook\n"
    code += "heavy = {{'torch', 'pydantic', 'flava_parts_vq.specs'}} & {{*sys.modules}}\n"
    code += "print(codebook.registered_commands[0].name, heavy)"
    done = subprocess.run(
        [sys.executable, "-c", code.format(path=[path for path in sys.path if path])], capture_output=True, text=True
    )

    assert "fit set()\n" == done.stdout, done.stderr


@pytest.mark.parametrize("preset", ["emoji", "emoji_fsq", "emoji_residual"])
def test_the_emoji_run_trains(preset: str, tmp_path: Path) -> None:
    """A few steps of the preset, from file to checkpoint; the codebook is fitted first."""
    from flava_parts.train.run import run

    spec = fp.load_run(f"vq.{preset}", registry=REGISTRY, set=SHORT)

    assert 3 == run(spec, tmp_path, registry=REGISTRY).step
    assert (tmp_path / "codebook.safetensors").is_file()
