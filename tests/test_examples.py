"""The examples: each file loads, composes and computes its losses; each script runs and says that it learns."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flava_parts.compose import compose
from flava_parts.facts import pair
from flava_parts.loading import load
from flava_parts.plugins import load_registry
from flava_parts.spec import FlavaSpec, RunSpec

EXAMPLES = Path(__file__).parents[1] / "examples"
FILES = sorted((EXAMPLES / "compose").glob("*.yaml"))
SHRUNK = ["text_encoder.depth=1", "text_encoder.length=12", "image_encoder.depth=1"]
"""What keeps a forward pass of any example small; none of it changes which parts there are."""

LOOPS = ["reuse_clip_loop.py", "reuse_text_classifier.py", "reuse_fusion.py"]
"""Single parts in the loops of other projects."""
PRINTED = {
    "reuse_backbone.py": [
        "block 2: (2, 48, 12, 8)",
        "block 4: (2, 48, 12, 8)",
        "pyramid 2: (2, 16, 12, 8)",
        "pyramid 4: (2, 16, 12, 8)",
    ],
    "reuse_in_transformers.py": ["logits (3, 5)", "largest difference 0.0"],
    "reuse_factory.py": [
        "detector (2, 17, 6)",
        "tiny 32256 parameters",
        "hidden 6 patches at most",
        "refused: widht",
    ],
}
"""What the scripts print that do not train."""


def shrunk(file: Path) -> FlavaSpec:
    """The model of an example, of one block each."""
    below = "model." if "\nmodel:" in file.read_text(encoding="utf-8") else ""
    changes = [f"{below}{change}" for change in SHRUNK]
    if below:
        changes.append("data.tokenizer.length=12")
    spec = load(str(file), registry=load_registry(entry_points=False), set=changes).spec
    return spec.model if isinstance(spec, RunSpec) else spec


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The finished process; what it printed is shown if it failed."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    done = subprocess.run([sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True)

    assert 0 == done.returncode, done.stderr
    return done


def test_there_are_examples() -> None:
    """The folder was found."""
    assert len(FILES) >= 5


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_loads_without_a_warning_and_composes(file: Path) -> None:
    """Everything that an example fills is read by one of its losses."""
    loaded = load(str(file), registry=load_registry(entry_points=False))
    model, vocab = (
        (loaded.spec.model, loaded.spec.data.tokenizer.vocab())
        if isinstance(loaded.spec, RunSpec)
        else (loaded.spec, None)
    )

    assert [] == list(map(str, loaded.warnings))
    assert compose(model, device="meta", vocab=vocab).spec == model


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_batch_of_pairs_has_every_loss_that_is_for_pairs(file: Path) -> None:
    """One masked forward pass, on the meta device where the codes would have to be learnt first."""
    spec = shrunk(file)
    model = compose(spec, device="meta")
    patches, words = spec.image_encoder.tokens.grid.size, 12
    batch = {
        "pixel_values": torch.empty(2, 3, *pair(spec.image_encoder.image_size), device="meta"),
        "bool_masked_pos": torch.empty(2, patches, dtype=torch.bool, device="meta"),
        "itm_labels": torch.empty(2, dtype=torch.long, device="meta"),
        **{
            name: torch.empty(2, words, dtype=torch.long, device="meta")
            for name in ("input_ids", "input_ids_masked", "mlm_labels")
        },
    }
    if spec.codebook is not None:
        batch["codebook_pixel_values"] = torch.empty(2, 3, *pair(spec.codebook.image_size), device="meta")

    losses = model(**batch, output_logits=True).losses

    assert {name for name, loss in spec.losses.items() if loss.needs == {"image", "text"}} == set(losses)


def test_a_small_file_computes() -> None:
    """The smallest whole model, on real numbers: masks, codes, six losses between batches of three kinds."""
    spec = shrunk(EXAMPLES / "compose" / "small_images.yaml")
    model, generator = compose(spec), torch.Generator().manual_seed(0)
    images, codes = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32)
    texts = torch.randint(1000, 2000, (4, 12))
    model.codebook.fit(codes, generator)
    image = {"pixel_values": images, "codebook_pixel_values": codes}

    outputs = [
        model(**model.mask(batch, generator)) for batch in (image, {"input_ids": texts}, {**image, "input_ids": texts})
    ]

    assert set(spec.losses) == {name for output in outputs for name in output.losses}
    assert all(output.loss.isfinite() for output in outputs)
    assert 4 * 24 >= int(outputs[0].counts["mim"]) > 0


def test_the_contrastive_run_trains_in_seconds(tmp_path: Path) -> None:
    """The command in the file's first lines, with fewer steps; the run's folder holds what it should."""
    changes = ("train.steps=2", "train.batch_size=8", "model.image_encoder.depth=1", "model.text_encoder.depth=1")
    flags = [flag for change in changes for flag in ("--set", change)]

    run(
        "-m",
        "flava_parts",
        "train",
        EXAMPLES / "compose" / "contrastive_emoji.yaml",
        "--out",
        "run",
        *flags,
        cwd=tmp_path,
    )

    assert {"spec.yaml", "metrics.jsonl", "checkpoints", "losses.png", "retrieval.png"} <= {
        path.name for path in (tmp_path / "run").iterdir()
    }


@pytest.mark.parametrize("script", ["reuse_one_part.py", "custom_part.py", *LOOPS])
def test_a_script_prints_a_falling_loss(script: str, tmp_path: Path) -> None:
    """The mean of the last five steps is below that of the first five by a twentieth."""
    printed = run(EXAMPLES / script, cwd=tmp_path).stdout
    losses = [float(found) for found in re.findall(r"^step \d+: (?:loss|mim) ([\d.]+)", printed, re.MULTILINE)]

    assert len(losses) >= 20
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])


@pytest.mark.parametrize("script", list(PRINTED))
def test_a_script_prints_what_comes_of_it(script: str, tmp_path: Path) -> None:
    """To the letter."""
    assert PRINTED[script] == run(EXAMPLES / script, cwd=tmp_path).stdout.splitlines()


def test_adapters_learn_alone(tmp_path: Path) -> None:
    """The loss falls, the encoder's own weights stay, and merging the adapters changes nothing."""
    pytest.importorskip("peft")
    printed = run(EXAMPLES / "reuse_lora.py", cwd=tmp_path).stdout
    losses = [float(found) for found in re.findall(r"^step \d+: loss ([\d.]+)", printed, re.MULTILINE)]

    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])
    assert "8 adapters: base_model.model.blocks.0.attention.query.lora_A.default.weight\n" in printed
    assert re.search(r"^0 of the encoder's own \d+ weights moved\nmerged within 1e-5: True$", printed, re.MULTILINE)


@pytest.mark.parametrize("script", ["finetune_digits.py", "finetune_emoji.py"])
def test_a_fine_tuning_prints_its_accuracy_beside_a_linear_probe(
    script: str, model_folder: Path, tmp_path: Path
) -> None:
    """With far fewer steps than by default it is already well above chance, for the emoji above the commonest group.

    That group holds 24 % of the held-out drawings. The probe is complete.
    """
    first = [str(model_folder)] if script == "finetune_emoji.py" else []
    printed = run(EXAMPLES / script, *first, "40", "out", cwd=tmp_path).stdout
    measured = {line.partition(":")[0]: float(line.partition(":")[2]) for line in printed.splitlines()[-2:]}

    assert ["finetuned", "linear probe on raw pixels"] == list(measured)
    assert 0.3 <= measured["finetuned"] <= 1
    assert measured["linear probe on raw pixels"] > 0.5


def test_the_part_of_ones_own_is_registered_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script is a plugin: nothing about it is broken, and its part is described."""
    monkeypatch.syspath_prepend(EXAMPLES)
    import custom_part  # pyright: ignore[reportMissingImports]

    registry = load_registry(plugins=[custom_part], entry_points=False)

    assert () == registry.broken
    assert "codebook" == registry.entries["mine.colour"].kind
    assert "plugin 'custom_part'" == str(registry.entries["mine.colour"].origin)
