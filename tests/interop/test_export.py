"""What is exported computes what the model computes, on any batch and any text; what does not is never written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import Run
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from flava_parts.compose import compose
from flava_parts.errors import InputError
from flava_parts.interop import export as exporting
from flava_parts.interop.export import TOLERANCE, Comparison, ExportError, export
from flava_parts.loading import load_spec
from flava_parts.model import FlavaForPreTraining

PARTS, FORMATS = ("image", "text", "pairs"), ("pt2", "onnx")
EACH = [(part, to) for part in PARTS for to in FORMATS]
LENGTH, VOCABULARY, HEIGHT, WIDTH = 12, 110, 16, 24
SMALL = (
    f"image_encoder.image_size=[{HEIGHT}, {WIDTH}]",
    f"text_encoder.length={LENGTH}",
    f"text_encoder.vocab_size={VOCABULARY}",
    *(f"{part}.{name}" for part in ("image_encoder", "text_encoder", "fusion") for name in ("width=16", "depth=1")),
    "codebook=null",
    "losses.mim=null",
    "losses.mmm_image=null",
)

Feed = dict[str, Tensor]
Exported = Callable[[Feed], tuple[Tensor, ...]]


def small(*changes: str) -> FlavaForPreTraining:
    """A tiny model of rectangular pictures, no weight of which is zero or one."""
    model = compose(load_spec("flava.tiny", set=[*SMALL, *changes]))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=generator)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> FlavaForPreTraining:
    return small()


@pytest.fixture(scope="module")
def exported(model: FlavaForPreTraining, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """`exported(part, to)` is a file, made once."""
    folder = tmp_path_factory.mktemp("exported")

    @cache
    def made(part: Any, to: Any) -> Path:
        file = folder / f"{part}.{to}"
        export(model, part, file, to=to)
        return file

    return made


def opened(file: Path) -> Exported:
    """An exported file, run by what it is for, and by nothing of ours."""
    if file.suffix == ".pt2":
        module = torch.export.load(file).module().requires_grad_(requires_grad=False)
        return lambda feed: module(*feed.values())
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return lambda feed: tuple(map(torch.as_tensor, session.run(None, {name: feed[name].numpy() for name in names})))


def feed_of(part: str, rows: int, words: int, seed: int = 0) -> Feed:
    """Random inputs of a part; the first text is nothing but padding wherever there are two."""
    generator = torch.Generator().manual_seed(seed)
    keep = (torch.rand(rows, words, generator=generator) < 0.7).long()
    keep[:1] = int(rows == 1)
    texts = {"input_ids": torch.randint(VOCABULARY, (rows, words), generator=generator), "attention_mask": keep}
    pixels = {"pixel_values": torch.randn(rows, 3, HEIGHT, WIDTH, generator=generator)}
    return {"image": pixels, "text": texts, "pairs": texts | pixels}[part]


@torch.no_grad()
def eager(model: FlavaForPreTraining, part: str, feed: Feed) -> tuple[Tensor, ...]:
    """What the model says, spelt out from its states and weights."""
    encoded = model.encode(**feed, fuse=part == "pairs")
    losses: Any = model.losses
    vectors = []
    if encoded.image is not None:
        image = encoded.image.last_hidden_state[:, 0]
        vectors.append(F.normalize(losses["global_contrastive"].image_projection(image), dim=-1))
    if encoded.text is not None:
        text = encoded.text.last_hidden_state[:, 0]
        vectors.append(F.normalize(losses["global_contrastive"].text_projection(text), dim=-1))
    if encoded.multimodal is None:
        return tuple(vectors)
    pooled = losses["itm"].dense(encoded.multimodal.last_hidden_state[:, 0]).tanh()
    return (vectors[0] * vectors[1]).sum(-1), losses["itm"].classifier(pooled).softmax(-1)[:, 1]


def furthest(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    """The largest difference; shapes have to be equal."""
    assert [tuple(one.shape) for one in expected] == [tuple(one.shape) for one in found]
    return float(torch.stack([(one - other).abs().max() for one, other in zip(expected, found, strict=True)]).max())


# ------------------------------------------------------------------------------------------------ what is written


@pytest.mark.parametrize(("part", "to"), EACH)
def test_any_batch_and_any_text(
    part: str, to: str, model: FlavaForPreTraining, exported: Callable[[str, str], Path]
) -> None:
    """One row or many, one word or the longest text, padding anywhere, a text of padding alone: what the model says."""
    run = opened(exported(part, to))

    @settings(max_examples=8, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])
    @given(rows=st.integers(1, 9), words=st.integers(1, LENGTH), seed=st.integers(0, 99))
    def holds(rows: int, words: int, seed: int) -> None:
        feed = feed_of(part, rows, words, seed)

        assert TOLERANCE >= furthest(run(feed), eager(model, part, feed))

    holds()
    for rows, words in ((1, 1), (1, LENGTH), (9, 1), (2, LENGTH)):
        feed = feed_of(part, rows, words)

        assert TOLERANCE >= furthest(run(feed), eager(model, part, feed))


@pytest.mark.parametrize("to", FORMATS)
def test_embeddings_are_of_unit_length(to: str, exported: Callable[[str, str], Path]) -> None:
    """As those of the model: a cosine is a product."""
    for part in ("image", "text"):
        (vectors,) = opened(exported(part, to))(feed_of(part, 4, 5))

        assert torch.allclose(torch.ones(4), vectors.norm(dim=-1), atol=1e-5)


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("part", ["text", "pairs"])
def test_padding_is_not_read(part: str, to: str, exported: Callable[[str, str], Path]) -> None:
    """Other ids under the mask, or more of them, change nothing; the same ids without the mask do."""
    run = opened(exported(part, to))
    feed = feed_of(part, 3, 6)
    feed["attention_mask"] = torch.tensor([[1, 1, 1, 1, 0, 0]]).repeat(3, 1)
    expected = run(feed)
    other_ids = feed | {"input_ids": torch.where(feed["attention_mask"] > 0, feed["input_ids"], 7)}
    longer = feed | {name: F.pad(feed[name], (0, 5)) for name in ("input_ids", "attention_mask")}

    assert 1e-5 > furthest(run(other_ids), expected)
    assert 1e-5 > furthest(run(longer), expected)
    assert 1e-3 < furthest(run(feed | {"attention_mask": torch.ones_like(feed["attention_mask"])}), expected)


def test_onnx_says_what_it_takes(exported: Callable[[str, str], Path]) -> None:
    """Inputs and outputs have their names, and so have the two free axes; the graph passes ONNX's own checker."""
    shapes = {}
    for part in PARTS:
        file = exported(part, "onnx")
        onnx.checker.check_model(str(file), full_check=True)
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        shapes[part] = [
            {entry.name: entry.shape for entry in some} for some in (session.get_inputs(), session.get_outputs())
        ]
    texts = {"input_ids": ["batch", "length"], "attention_mask": ["batch", "length"]}
    pixels = {"pixel_values": ["batch", 3, HEIGHT, WIDTH]}

    assert {
        "image": [pixels, {"image_embedding": ["batch", 32]}],
        "text": [texts, {"text_embedding": ["batch", 32]}],
        "pairs": [texts | pixels, {"similarity": ["batch"], "match_probability": ["batch"]}],
    } == shapes


def test_a_pt2_holds_no_other_part(exported: Callable[[str, str], Path]) -> None:
    """No head that predicts words, no other encoder: only the parts that are run."""
    owners = {
        part: {
            name.rpartition(".")[0].split(".blocks")[0] for name in torch.export.load(exported(part, "pt2")).state_dict
        }
        for part in PARTS
    }

    assert not [name for name in owners["image"] if "word" in name or "fusion" in name]
    assert not [name for name in owners["text"] if "patch" in name or "fusion" in name]
    assert not [name for names in owners.values() for name in names if "mlm" in name or "mmm" in name]


def test_a_pt2_needs_torch_alone(exported: Callable[[str, str], Path]) -> None:
    """It runs where this package was never imported."""
    code = (
        "import sys, torch\n"
        f"module = torch.export.load({str(exported('text', 'pt2'))!r}).module()\n"
        "(vectors,) = module(torch.ones(4, 3, dtype=torch.long), torch.ones(4, 3, dtype=torch.long))\n"
        "print(tuple(vectors.shape), 'flava_parts' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "(4, 32) False\n" == done.stdout


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("text", ["text_encoder.position_embedding=relative_key_query", "text_encoder.pooler=true"]),
        ("pairs", ["fusion.mask_text_padding=false", "fusion.cls_token=false", "text_encoder.activation=gelu_new"]),
    ],
)
def test_other_choices_are_exported_too(part: Any, changes: list[str], tmp_path: Path) -> None:
    """Relative positions, no summary token of the fusion's own, padding that it looks at."""
    model = small(*changes)
    comparisons = export(model, part, tmp_path / "part.pt2", to="pt2")

    assert [(1, 5), (3, 12), (5, LENGTH)] == [(one.batch, one.length) for one in comparisons]
    feed = feed_of(part, 4, 9)

    assert TOLERANCE >= furthest(opened(tmp_path / "part.pt2")(feed), eager(model, part, feed))


def test_the_model_stays_as_it_was(tmp_path: Path) -> None:
    """Weights, training mode and the random state; a file that was there is replaced."""
    model = small("text_encoder.dropout=0.5").train()
    model.fusion.eval()  # pyright: ignore[reportOptionalMemberAccess]
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    random = torch.random.get_rng_state()
    (tmp_path / "text.pt2").write_text("an old file")
    comparisons = export(model, "text", tmp_path / "text.pt2", to="pt2")

    assert modes == [module.training for module in model.modules()]
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert torch.equal(random, torch.random.get_rng_state())
    assert TOLERANCE >= max(one.difference for one in comparisons)
    assert ["text.pt2"] == [file.name for file in tmp_path.iterdir()]
    opened(tmp_path / "text.pt2")


def test_large_weights_come_along(model: FlavaForPreTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ONNX keeps in a second file, as it does over 2 GB, arrives beside the first, and is found by it."""
    save = torch.onnx.ONNXProgram.save
    monkeypatch.setattr(torch.onnx.ONNXProgram, "save", lambda self, file: save(self, file, external_data=True))
    export(model, "image", tmp_path / "image.onnx", to="onnx")

    assert ["image.onnx", "image.onnx.data"] == sorted(file.name for file in tmp_path.iterdir())
    feed = feed_of("image", 3, 1)

    assert TOLERANCE >= furthest(opened(tmp_path / "image.onnx")(feed), eager(model, "image", feed))


# ------------------------------------------------------------------------------------------ what is never written


class Forgetful(nn.Module):
    """A text encoder whose graph forgets the mask."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor, keep: Tensor | None = None, *rest: Any, **output: Any) -> Any:
        return self.encoder(ids, None if torch.compiler.is_exporting() else keep, *rest, **output)


class Counting(Forgetful):
    """A text encoder that says something else each time; a graph keeps what it said when it was traced."""

    calls = 0

    def forward(self, ids: Tensor, keep: Tensor | None = None, *rest: Any, **output: Any) -> Any:
        self.calls += 1
        return self.encoder(ids.roll(self.calls, dims=0) if self.calls > 1 else ids, keep, *rest, **output)


class OneBatch(Forgetful):
    """A text encoder that reads the batch size as a plain number, which a graph makes a constant."""

    def forward(self, ids: Tensor, keep: Tensor | None = None, *rest: Any, **output: Any) -> Any:
        return self.encoder(ids.view(len(ids), -1), keep, *rest, **output)


def with_text_encoder(kind: type[nn.Module]) -> FlavaForPreTraining:
    model = small()
    model.text_encoder = kind(model.text_encoder)  # pyright: ignore[reportAttributeAccessIssue]
    return model


@pytest.mark.parametrize("to", FORMATS)
def test_a_lost_mask_is_noticed(to: Any, tmp_path: Path) -> None:
    """Where nothing is padded the wrong graph is right; the padded shapes show it. The old file stays, alone."""
    file = tmp_path / f"text.{to}"
    file.write_text("an old file")
    with pytest.raises(
        ExportError, match=r"not written; what was exported differs from the model by .*, more than 0.0001"
    ) as raised:
        export(with_text_encoder(Forgetful), "text", file, to=to)
    whole, *padded = raised.value.comparisons

    assert Comparison(batch=1, length=5, difference=pytest.approx(0, abs=1e-6)) == whole
    assert all(one.difference > 0.01 for one in padded)
    assert (["an old file"], 1) == ([found.read_text() for found in tmp_path.iterdir()], raised.value.exit_code)


@pytest.mark.parametrize("to", FORMATS)
def test_weights_that_moved_are_noticed(to: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight that is not what it was when the file was written: every shape shows it."""
    model = small()
    module = f"_written_{to}"
    written = getattr(exporting, module)

    def and_then_perturbed(*arguments: Any) -> Exported:
        run = written(*arguments)
        with torch.no_grad():
            model.image_encoder.cls_token[..., 0] += 1  # one channel: a norm would take back what all of them gain
        return run

    monkeypatch.setattr(exporting, module, and_then_perturbed)
    with pytest.raises(ExportError) as raised:
        export(model, "image", tmp_path / f"image.{to}", to=to)

    assert all(one.difference > TOLERANCE for one in raised.value.comparisons)
    assert [] == list(tmp_path.iterdir())


def test_a_part_that_is_no_function_is_noticed(tmp_path: Path) -> None:
    """Its graph is a snapshot."""
    with pytest.raises(ExportError, match="differs from the model"):
        export(with_text_encoder(Counting), "text", tmp_path / "text.pt2", to="pt2")

    assert [] == list(tmp_path.iterdir())


def test_a_batch_size_that_is_a_constant_is_refused(tmp_path: Path) -> None:
    """Rather than written for one batch size; the message is one line."""
    with pytest.raises(
        ExportError, match=r"^the text part cannot be traced: UserError: Constraints violated \(batch\).*$"
    ):
        export(with_text_encoder(OneBatch), "text", tmp_path / "text.pt2", to="pt2")

    assert [] == list(tmp_path.iterdir())


def test_not_a_number_is_no_agreement(tmp_path: Path) -> None:
    """A model with a broken weight is not exported, though file and model say the same: nothing."""
    model = small()
    with torch.no_grad():
        model.image_encoder.norm.bias.fill_(torch.nan)
    with pytest.raises(ExportError, match="differs from the model by inf"):
        export(model, "image", tmp_path / "image.pt2", to="pt2")

    assert [] == list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------- wrong inputs


@pytest.mark.parametrize(
    ("changes", "part", "message"),
    [
        (["losses.global_contrastive=null"], "image", "no contrastive loss, whose projections every export needs"),
        (["losses.itm=null"], "pairs", "no matching loss, which judges pairs; export its image and text towers"),
        (["fusion=null", "losses.itm=null", "losses.mmm_text=null"], "pairs", "no fusion, which judges pairs"),
    ],
)
def test_a_model_without_the_part(changes: list[str], part: Any, message: str, tmp_path: Path) -> None:
    """It is said what is missing."""
    with pytest.raises(InputError, match=message):
        export(small(*changes), part, tmp_path / "part.pt2", to="pt2")


def test_a_part_or_a_format_that_there_is_not(model: FlavaForPreTraining, tmp_path: Path) -> None:
    """It is said which there are."""
    names: list[tuple[Any, Any, str]] = [("codebook", "pt2", "image, text, pairs"), ("image", "tflite", "pt2, onnx")]
    for part, to, message in names:
        with pytest.raises(InputError, match=f"exported to; there are {message}$"):
            export(model, part, tmp_path / f"part.{to}", to=to)


def test_files_that_cannot_be_written(model: FlavaForPreTraining, tmp_path: Path) -> None:
    """Another ending, a folder, a folder that is not there: said before anything slow begins."""
    (tmp_path / "folder.pt2").mkdir()
    for file, message in (
        (tmp_path / "image.onnx", r"image\.onnx: does not end in \.pt2; name it .*image\.pt2, or choose another"),
        (tmp_path / "folder.pt2", r"folder\.pt2: is a folder"),
        (tmp_path / "nowhere" / "image.pt2", r"image\.pt2: its folder is not there"),
        (Path("/proc/image.pt2"), r"image\.pt2: cannot be written: "),
    ):
        with pytest.raises(InputError, match=message):
            export(model, "image", file, to="pt2")

    assert ["folder.pt2"] == [file.name for file in tmp_path.iterdir()]


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_onnx_is_an_extra(
    package: str, model: FlavaForPreTraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its packages one line says what to install; without them a .pt2 needs none."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r"^ONNX needs more packages \(.*\): pip install 'flava-parts\[onnx\]'$"):
        export(model, "image", tmp_path / "image.onnx", to="onnx")


# ---------------------------------------------------------------------------------------------- the command line


@pytest.fixture(scope="module")
def from_transformers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """A model of transformers' with random weights, and the folder that it saved itself into."""
    from transformers import FlavaConfig, FlavaModel

    tower = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    config = FlavaConfig(
        image_config=tower | {"image_size": 16, "patch_size": 8},
        text_config=tower | {"vocab_size": VOCABULARY, "max_position_embeddings": LENGTH},
        multimodal_config=tower,
        hidden_size=16,
        projection_dim=8,
        initializer_range=0.3,
    )
    folder = tmp_path_factory.mktemp("transformers") / "model"
    theirs = FlavaModel(config).eval()
    theirs.save_pretrained(folder)
    return theirs, str(folder)


def test_from_a_transformers_checkpoint_to_onnxruntime(from_transformers: tuple[Any, str], run: Run) -> None:
    """The exported tower gives what transformers' own model gives."""
    theirs, folder = from_transformers
    code, out, err = run("export", folder, "--part", "text", "--to", "onnx", "--out", "text.onnx")
    head, *rows, last = out.splitlines()

    assert (0, "batch  text length  largest difference", "written: text.onnx") == (code, head, last)
    assert [["1", "5"], ["3", "12"], ["5", str(LENGTH)]] == [row.split()[:2] for row in rows]
    assert all(TOLERANCE >= float(row.split()[2]) for row in rows)
    assert f"{folder}: exporting text to onnx, and comparing; this takes a while" == err.splitlines()[0]
    feed = feed_of("text", 4, 7)
    feed["attention_mask"][:, 0] = 1
    session = onnxruntime.InferenceSession("text.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: one.numpy() for name, one in feed.items()})
    with torch.no_grad():
        states = theirs.text_model(**feed).last_hidden_state
        expected = F.normalize(theirs.text_projection(states[:, 0]), dim=-1)

    np.testing.assert_allclose(expected.numpy(), found, atol=1e-5)


def test_the_command_for_programs(from_transformers: tuple[Any, str], run: Run) -> None:
    """The same as JSON; pictures have no length."""
    code, out, _ = run("export", from_transformers[1], "--part", "image", "--to", "pt2", "--out", "i.pt2", "--json")
    shown = json.loads(out)

    assert (0, True) == (code, Path("i.pt2").is_file())
    assert {"file": "i.pt2", "part": "image", "to": "pt2", "written": True} == {
        name: shown[name] for name in shown if name != "comparisons"
    }
    assert [(1, None), (3, None), (5, None)] == [(one["batch"], one["length"]) for one in shown["comparisons"]]
    assert all(TOLERANCE >= one["difference"] >= 0 for one in shown["comparisons"])


def test_the_command_fails_where_the_file_would_be_wrong(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The differences are shown, the exit code is 1, and there is no file."""
    monkeypatch.setattr("flava_parts.interop.pretrained.load_pretrained", lambda *_, **__: with_text_encoder(Forgetful))
    arguments = ("anything", "--part", "text", "--to", "pt2", "--out", "text.pt2")
    code, out, err = run("export", *arguments)

    assert (1, 4) == (code, len(out.splitlines()))
    assert err.splitlines()[-1].startswith("text.pt2: not written; what was exported differs from the model by ")
    code, out, _ = run("export", *arguments, "--json")

    assert (1, False) == (code, json.loads(out)["written"])
    assert json.loads(out)["comparisons"][2]["difference"] > TOLERANCE
    assert [] == list(Path.cwd().iterdir())


def test_the_command_refuses_wrong_inputs(from_transformers: tuple[Any, str], run: Run) -> None:
    """No such model, part or format, and a checkpoint that cannot judge pairs: exit code 2, no traceback."""
    folder = from_transformers[1]
    for arguments, message in (
        (("nowhere", "--part", "image", "--to", "pt2", "--out", "a.pt2"), "nowhere"),
        ((folder, "--part", "fusion", "--to", "pt2", "--out", "a.pt2"), "'fusion'"),
        ((folder, "--part", "image", "--to", "tflite", "--out", "a.pt2"), "'tflite'"),
        ((folder, "--part", "pairs", "--to", "pt2", "--out", "a.pt2"), "matching loss"),
        ((folder, "--part", "image", "--to", "onnx", "--out", "a.pt2"), "does not end in .onnx"),
    ):
        code, out, err = run("export", *arguments)

        assert (2, "") == (code, out)
        assert message in err
        assert "Traceback" not in err
