"""A fine-tuning, from its spec to its folder, and back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from conftest import Run
from pictures import class_folders
from runs import tiny_run
from torch import Generator

import flava_parts as fp
from flava_parts.compose import compose
from flava_parts.data.sources.sample import Sample
from flava_parts.data.sources.specs import SourceSpec
from flava_parts.errors import InputError, SpecError
from flava_parts.hooks import hookimpl
from flava_parts.inputs.processor import Processor
from flava_parts.inputs.settings import ImageProcessorSettings, TokenizerSettings
from flava_parts.inputs.specs import ViewsSpec
from flava_parts.inputs.views import Views, settings_of
from flava_parts.inputs.wordpiece import WordPiece
from flava_parts.loading import load
from flava_parts.plugins import load_registry
from flava_parts.spec import FinetuneSpec
from flava_parts.train.checkpoints.layout import CHECKPOINTS, MODEL
from flava_parts.train.checkpoints.saving import Checkpoints
from flava_parts.train.checkpoints.tensor_files import read_tensors
from flava_parts.train.divergence import DivergedError
from flava_parts.train.finetune import finetune
from flava_parts.train.loop import State
from flava_parts.train.resume import checkpoint_of
from flava_parts.writing import to_yaml

TINY = (
    "train.steps=4",
    "train.batch_size=8",
    "train.checkpoint_every=2",
    "observers={jsonl: {type: flava.jsonl}}",
    "head.hidden=8",
    "head.reads=image",
)


def silent(text: str) -> None:
    """Nobody listens."""


def tiny(pretrained: Path | None, *changes: str, **arguments: Any) -> FinetuneSpec:
    """The emoji groups, learnt in four small steps."""
    told = () if pretrained is None else (f"pretrained={pretrained}",)
    return fp.load_finetune("flava.emoji_groups", set=[*TINY, *told, *changes], **arguments)


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(folder: Path) -> list[tuple[int, str]]:
    """Step and exact loss of every update."""
    return [(record["step"], float(record["loss"]).hex()) for record in records(folder) if "loss" in record]


def weights(folder: Path, step: int = 4) -> Mapping[str, torch.Tensor]:
    return read_tensors(folder / CHECKPOINTS / f"step-{step:08d}" / MODEL)


@pytest.fixture(scope="module")
def finished(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fine-tuning of four steps, made in one go."""
    folder = tmp_path_factory.mktemp("runs") / "straight"
    outcome = finetune(tiny(model_folder), folder, log=silent)

    assert outcome.complete
    assert {"held_out/accuracy", "held_out/loss"} == outcome.metrics.keys()
    assert 0 <= outcome.metrics["held_out/accuracy"] <= 1
    return folder


def test_it_leaves_spec_metrics_checkpoints_and_curves(finished: Path) -> None:
    *steps, evaluation = records(finished)

    names = {path.name for path in finished.iterdir()} - {".lock"}
    assert {"spec.yaml", "metrics.jsonl", "checkpoints", "losses.png"} == names
    assert [1, 2, 3, 4] == [record["step"] for record in steps]
    assert all(record["loss"] == record["loss/classification"] for record in steps)
    assert {"step", "held_out/accuracy", "held_out/loss"} == evaluation.keys()


def test_the_folder_s_spec_says_everything(finished: Path, model_folder: Path) -> None:
    """The model, tokenizer, views and classes that the pretrained model and the source had."""
    spec, run = fp.load_finetune(finished / "spec.yaml"), tiny_run()

    assert run.model == spec.model
    assert (run.data.tokenizer, run.data.views) == (spec.data.tokenizer, spec.data.views)
    assert spec.data.train.classes == spec.data.classes
    assert spec == fp.load_finetune(to_yaml(spec))
    assert str(model_folder) == spec.pretrained


@pytest.mark.parametrize("reads", ["image", "text", "fused"])
def test_it_starts_from_the_pretrained_weights(model_folder: Path, tmp_path: Path, reads: str) -> None:
    """With everything below the head frozen, they are still there at the end, bit for bit; the head has moved."""
    slots = {"image": ["image_encoder"], "text": ["text_encoder"]}.get(
        reads, ["image_encoder", "text_encoder", "fusion"]
    )
    finetune(tiny(model_folder, f"head.reads={reads}", f"train.freeze=[{', '.join(slots)}]"), tmp_path, log=silent)
    pretrained = fp.load_pretrained(model_folder).state_dict()
    taken = {name: value for name, value in weights(tmp_path).items() if not name.startswith("head.")}

    assert set(slots) == {name.partition(".")[0] for name in taken}
    assert all(torch.equal(pretrained[name], value) for name, value in taken.items())
    assert not torch.equal(weights(tmp_path, 2)["head.dense.weight"], weights(tmp_path)["head.dense.weight"])


def test_a_frozen_part_stays_while_the_others_move(model_folder: Path, tmp_path: Path) -> None:
    """Also in the middle of a checkpoint's averages: it has none."""
    finetune(tiny(model_folder, "head.reads=fused", "train.freeze=[text_encoder]"), tmp_path, log=silent)
    pretrained, now = fp.load_pretrained(model_folder).state_dict(), weights(tmp_path)
    averages = read_tensors(tmp_path / CHECKPOINTS / "step-00000004" / "optimizer.safetensors")

    assert all(torch.equal(pretrained[name], now[name]) for name in now if name.startswith("text_encoder."))
    for name in ("image_encoder.blocks.0.mlp.up.weight", "fusion.text_projection.weight", "fusion.norm.weight"):
        assert not torch.equal(pretrained[name], now[name]), name
    assert {"image_encoder", "fusion", "head"} == {name.partition(".")[0] for name in averages}


def test_lower_layers_move_less(model_folder: Path, tmp_path: Path) -> None:
    """One step of AdamW moves each weight by its learning rate: those of two layers differ by the decay."""
    changes = ("train.steps=1", "train.layer_decay=0.5", "train.optimizer.weight_decay=0", "train.schedule.warmup=0")
    finetune(tiny(model_folder, *changes), tmp_path, log=silent)
    before, after = fp.load_pretrained(model_folder).state_dict(), weights(tmp_path, 1)

    def moved(name: str) -> float:
        return float((after[name] - before[name]).abs().median())

    embedded, block = moved("image_encoder.position_embedding"), moved("image_encoder.blocks.0.mlp.up.weight")
    assert 0.5 == pytest.approx(embedded / block, rel=0.01)
    assert 1e-3 * 0.5 == pytest.approx(block, rel=0.01)


def test_a_resumed_fine_tuning_continues_bit_for_bit(finished: Path, model_folder: Path, tmp_path: Path) -> None:
    """What comes after a checkpoint does not depend on having stopped there, nor on the pretrained model."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    shutil.rmtree(folder / CHECKPOINTS / "step-00000004")
    checkpoint = checkpoint_of(folder, "auto", say=silent)
    assert checkpoint is not None
    finetune(fp.load_finetune(folder / "spec.yaml"), folder, resume=checkpoint, log=silent)

    assert "step-00000002" == checkpoint.name
    assert losses(finished) == losses(folder)
    assert records(finished)[-1] == records(folder)[-1]
    assert all(torch.equal(weights(finished)[name], value) for name, value in weights(folder).items())


def test_going_on_takes_the_file_that_it_began_with(finished: Path, model_folder: Path, tmp_path: Path) -> None:
    """What that leaves open is in the folder's spec; a file that says something else is refused."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    outcome = finetune(tiny(model_folder), folder, log=silent)

    assert records(finished) == records(folder)
    assert outcome.metrics["held_out/accuracy"] == records(folder)[-1]["held_out/accuracy"]
    with pytest.raises(InputError, match="another spec; choose another --out"):
        finetune(tiny(model_folder, "train.seed=1"), folder, log=silent)


def test_the_same_seed_gives_the_same_numbers(finished: Path, model_folder: Path, tmp_path: Path) -> None:
    """Bit for bit; and another seed does not."""
    finetune(tiny(model_folder), tmp_path / "again", log=silent)
    finetune(tiny(model_folder, "train.seed=1"), tmp_path / "other", log=silent)

    assert losses(finished) == losses(tmp_path / "again")
    assert losses(finished) != losses(tmp_path / "other")


def test_a_finetuned_model_comes_back(finished: Path, tmp_path: Path) -> None:
    """Without the pretrained model: its classes, the accuracy that was measured, and its processor."""
    shutil.copytree(finished / CHECKPOINTS / "step-00000004", tmp_path / "alone")
    model, processor = fp.load_finetuned(tmp_path / "alone")
    spec = fp.load_finetune(finished / "spec.yaml").data.held_out
    assert spec is not None
    source = spec.build()
    samples = [source.sample(index) for index in range(len(source))]
    inputs = processor(images=[sample.image for sample in samples])
    probabilities = model.classify(**inputs)
    right = (probabilities.argmax(dim=1) == torch.tensor([sample.labels[0] for sample in samples])).double().mean()

    assert not model.training
    assert spec.classes == model.classes
    assert records(finished)[-1]["held_out/accuracy"] == pytest.approx(float(right))
    torch.testing.assert_close(model.classify(**inputs), fp.load_finetuned(finished)[0].classify(**inputs))


def test_the_average_that_was_measured_comes_back(model_folder: Path, tmp_path: Path) -> None:
    """As after pretraining: in a folder of its own, beside checkpoints of the weights themselves."""
    outcome = finetune(tiny(model_folder, "train.ema=0.5"), tmp_path, log=silent)
    model, processor = fp.load_finetuned(tmp_path / "average")
    kept = read_tensors(tmp_path / CHECKPOINTS / "step-00000004" / "average.safetensors")
    spec = fp.load_finetune(tmp_path / "spec.yaml").data.held_out
    assert spec is not None
    source = spec.build()
    samples = [source.sample(index) for index in range(len(source))]
    chosen = model.classify(**processor(images=[sample.image for sample in samples])).argmax(dim=1)
    right = (chosen == torch.tensor([sample.labels[0] for sample in samples])).double().mean()

    assert outcome.metrics["held_out/accuracy"] == pytest.approx(float(right))
    assert all(torch.equal(kept[name], weight) for name, weight in model.named_parameters())
    assert not torch.equal(weights(tmp_path)["head.dense.weight"], kept["head.dense.weight"])


def test_a_diverged_fine_tuning_names_its_own_command(model_folder: Path, tmp_path: Path) -> None:
    spec = tiny(model_folder, "train.optimizer.learning_rate=1e38", "train.clip_norm=null", "train.schedule.warmup=0")
    with pytest.raises(DivergedError, match="flava-parts finetune "):
        finetune(spec, tmp_path, log=silent)


def test_from_random_weights_there_is_no_need_for_a_pretrained_model(tmp_path: Path) -> None:
    """The model is in the spec then; texts and pictures are read as FLAVA reads them."""
    spec = tiny(None, "data.held_out=null").model_copy(update={"model": tiny_run().model})
    outcome = finetune(spec, tmp_path, log=silent)

    assert (True, 4, {}) == (outcome.complete, outcome.step, outcome.metrics)
    assert 32 == fp.load_finetune(tmp_path / "spec.yaml").data.tokenizer.length  # type: ignore[union-attr]


def test_a_checkpoint_of_transformers_is_a_pretrained_model(tmp_path: Path) -> None:
    """Written in its layout, the encoder is the one that is taken over; FLAVA's own tokenizer and views go with it."""
    torch.manual_seed(0)
    dvae = {"type": "flava.dvae", "image_size": 32, "width": 4, "vocab_size": 16, "weights": "random"}
    pretrained = compose(fp.load_spec({"base": "flava.tiny", "codebook": dvae}))
    fp.save_pretrained(pretrained, tmp_path / "hf", format="hf")
    finetune(tiny(tmp_path / "hf", "train.freeze=[image_encoder]"), tmp_path / "run", log=silent)
    name = "image_encoder.blocks.0.mlp.up.weight"

    assert (tmp_path / "hf" / "config.json").is_file()
    assert torch.equal(pretrained.state_dict()[name], weights(tmp_path / "run")[name])


def hugging_face(folder: Path, words: str | None, **settings: object) -> Path:
    """A model in transformers' layout and its processor, whose vocab.txt is ``words``, or a tokenizer.json only."""
    dvae = {"type": "flava.dvae", "image_size": 32, "width": 4, "vocab_size": 16, "weights": "random"}
    model = compose(fp.load_spec({"base": "flava.tiny", "codebook": dvae}))
    tokenizer = WordPiece.of(tuple(WORDS.split()), TokenizerSettings(model_max_length=20, do_lower_case=False))
    made = settings_of(model.spec, ViewsSpec())
    views = Views(ImageProcessorSettings(**{**dict(made), **settings}))
    fp.save_pretrained(model, folder, "hf", Processor(tokenizer=tokenizer, views=views))
    (folder / "vocab.txt").unlink()
    if words is not None:
        (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words.split()), encoding="utf-8")
    return folder


WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] cat Cat face ##s"


def test_a_checkpoint_of_transformers_is_read_with_its_own_processor(tmp_path: Path) -> None:
    """Its words, case, length, back end, mean and deviation, and so the same tensors."""
    folder = hugging_face(tmp_path / "hf", WORDS, image_mean=0.5, image_std=(0.1, 0.2, 0.3), backend="torchvision")
    finetune(tiny(folder, "head.reads=fused", "train.steps=1"), tmp_path / "run", log=silent)
    _, processor = fp.load_finetuned(tmp_path / "run")
    data = fp.load_finetune(tmp_path / "run" / "spec.yaml").data
    picture, texts = np.random.default_rng(0).integers(0, 256, (90, 80, 3), dtype=np.uint8), ["Cat faces", "cat"]
    expected, actual = fp.load_processor(folder)(picture, texts), processor(picture, texts)

    assert (str(folder / "vocab.txt"), False, 20) == (
        data.tokenizer.vocabulary,
        data.tokenizer.lowercase,
        data.tokenizer.length,
    )
    assert expected.keys() == actual.keys()
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


def test_what_a_fine_tuning_cannot_say_of_a_processor_is_told(tmp_path: Path) -> None:
    """Where it would be read; and not where the spec says it itself."""
    other = hugging_face(tmp_path / "words", None)
    with pytest.raises(InputError, match=r"its tokenizer has words of its own; write them into a vocab\.txt"):
        finetune(tiny(other, "head.reads=text"), tmp_path / "run", log=silent)
    nearest = hugging_face(tmp_path / "pictures", WORDS, resample=0)
    with pytest.raises(InputError, match=r"its pictures have a resample that data\.views cannot say; give data\.views"):
        finetune(tiny(nearest, "head.reads=image"), tmp_path / "run", log=silent)
    views = "data.views={backend: torchvision}"
    outcome = finetune(tiny(nearest, "head.reads=image", "train.steps=1", views), tmp_path / "run", log=silent)
    assert outcome.complete


def test_a_spec_may_change_single_choices_of_the_pretrained_model(model_folder: Path, tmp_path: Path) -> None:
    """What it does not say stays the pretrained model's, also inside a block."""
    changes = ("model.image_encoder.type=flava.vit", "model.image_encoder.dropout=0.25", "train.steps=1")
    finetune(tiny(model_folder, *changes), tmp_path / "run", log=silent)
    before, after = tiny_run().model, fp.load_finetune(tmp_path / "run" / "spec.yaml").model
    encoder = before.image_encoder.model_copy(update={"dropout": 0.25})

    assert before.model_copy(update={"image_encoder": encoder}) == after
    with pytest.raises(InputError, match=r"model: does not go with the pretrained one: 3 heads"):
        finetune(tiny(model_folder, changes[0], "model.image_encoder.heads=3"), tmp_path / "other", log=silent)


def test_pictures_may_be_larger_than_the_encoder_s(model_folder: Path, tmp_path: Path) -> None:
    """The paper fine-tunes VQAv2 at 480 pixels: positions are interpolated, in training and afterwards."""
    finetune(tiny(model_folder, "data.image_size=96", "train.steps=1"), tmp_path, log=silent)
    model, processor = fp.load_finetuned(tmp_path)
    pixels = processor(images=[torch.rand(3, 20, 30)])["pixel_values"]

    assert (1, 3, 96, 96) == pixels.shape
    assert (1, 6) == model.classify(pixel_values=pixels).shape


def test_folders_of_pictures_are_learnt_from(model_folder: Path, tmp_path: Path) -> None:
    """Each class is a sub-folder; the finetuned model knows their names, also when the pictures are gone."""
    pictures = class_folders(tmp_path / "pictures", {"cat": 5, "dog": 4})
    sources = [f"data.{split}={{type: flava.image_folder, folder: {pictures}}}" for split in ("train", "held_out")]
    outcome = finetune(tiny(model_folder, *sources, "train.batch_size=4"), tmp_path / "run", log=silent)
    shutil.rmtree(pictures)
    model, _ = fp.load_finetuned(tmp_path / "run")

    assert outcome.complete
    assert ("cat", "dog") == model.classes


def test_broken_pictures_are_replaced_in_training_and_left_out_of_the_measure(
    model_folder: Path, tmp_path: Path
) -> None:
    """Each is told with its reason; workers change nothing; too many end the run."""
    pictures = class_folders(tmp_path / "pictures", {"cat": 8, "dog": 8})
    (pictures / "dog" / "3.png").write_bytes(b"")
    sources = [f"data.{split}={{type: flava.image_folder, folder: {pictures}}}" for split in ("train", "held_out")]
    for workers in (0, 2):
        changes = (*sources, "train.batch_size=4", f"data.workers={workers}")
        finetune(tiny(model_folder, *changes), tmp_path / f"{workers}", log=silent)
    (line,) = (tmp_path / "0" / "bad_samples.jsonl").read_text().splitlines()
    (step,) = (record["step"] for record in records(tmp_path / "0") if "bad/empty-file" in record)

    assert {"step": step, "stream": "train", "key": "dog/3.png", "reason": "empty-file"}.items() <= json.loads(
        line
    ).items()
    assert 1 == records(tmp_path / "0")[-1]["held_out/bad"]
    assert losses(tmp_path / "0") == losses(tmp_path / "2")
    assert (tmp_path / "0" / "bad_samples.jsonl").read_text() == (tmp_path / "2" / "bad_samples.jsonl").read_text()
    strict = (*sources, "train.batch_size=4", "data.bad={rate: 0.01, least: 1}")
    with pytest.raises(InputError, match=r"of the last [0-9]+ samples 1 were bad, more than 1\.0%: 1 empty-file"):
        finetune(tiny(model_folder, *strict), tmp_path / "strict", log=silent)


class Tagged:
    """Texts that belong to any number of three classes."""

    def __init__(self, *, last: int = 2) -> None:
        self.last = last

    def __len__(self) -> int:
        return 12

    def sample(self, index: int, generator: Generator | None = None) -> Sample:
        labels = tuple(label for label in (0, 1, self.last) if index >> label & 1)
        return Sample(key=str(index), text=f"number {index}", labels=labels)


class TaggedSpec(SourceSpec):
    """Texts with tags."""

    type: Literal["acme.tagged"] = "acme.tagged"
    last: int = 2
    """The number of the last class."""

    @property
    def provides(self):
        return frozenset({"text"})

    @property
    def classes(self) -> tuple[str, ...]:
        return ("one", "two", "four")

    def build(self) -> Tagged:
        return Tagged(**self.arguments())


class TaggedPlugin:
    """A plugin with a labelled source."""

    @hookimpl
    def flava_parts_specs(self):
        return [TaggedSpec]


TAGGED = load_registry(plugins=[TaggedPlugin()], entry_points=False)
TAGS = ("data.train.type=acme.tagged", "data.held_out.type=acme.tagged", "head={reads: text, hidden: 8}")


def test_many_labels_are_measured_by_mean_average_precision(model_folder: Path, tmp_path: Path) -> None:
    """With a plugin's source and head of texts; the model that is left answers for each class on its own."""
    spec = tiny(model_folder, *TAGS, "head.multi_label=true", registry=TAGGED)
    outcome = finetune(spec, tmp_path, registry=TAGGED, log=silent)
    model, processor = fp.load_finetuned(tmp_path, registry=TAGGED)

    assert {"held_out/mean_average_precision", "held_out/loss"} == outcome.metrics.keys()
    assert 0 < outcome.metrics["held_out/mean_average_precision"] <= 1
    assert (2, 3) == model.classify(**processor(text=["number 3", "number 4"])).shape


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("head.multi_label=true", "data.train.last=3"), r"data.train: sample \d+ has the label 3, but the 3 classes"),
        ((), "labels, not one; a head with multi_label: true takes any number"),
        (("head.multi_label=true", "train.batch_size=13"), "data.train: 12 samples make no batch of 13"),
    ],
)
def test_labels_and_batches_that_cannot_be(
    model_folder: Path, tmp_path: Path, changes: tuple[str, ...], message: str
) -> None:
    spec = tiny(model_folder, *TAGS, *changes, registry=TAGGED)
    with pytest.raises(InputError, match=message):
        finetune(spec, tmp_path, registry=TAGGED, log=silent)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            ["train.freeze=[image_encoder, image_encode]"],
            "--set #1: train.freeze.1: should be image_encoder or text_encoder or fusion, not 'image_encode'; "
            "did you mean 'image_encoder'?",
        ),
        (
            ["data.train={type: flava.image_folder, folder: missing}"],
            "--set #1: data.train: missing: no folder could be read (No such file or directory); "
            "give one that has a sub-folder for each class",
        ),
        (
            ["data.train.type=flava.glosses", "head.reads=fused"],
            "--set #1: data.train: the head reads fused, but the source has no image (see --set #2 head.reads)",
        ),
        (
            ["data.train.type=flava.glosses", "head.reads=text", "data.held_out=null"],
            "--set #1: data.train: the source's samples have no labels; choose another, "
            "or name their classes in data.classes",
        ),
        (
            ["data.classes=[a, b]"],
            "flava.emoji_groups:5:10: data.train: has the classes activities, animals & nature, food & drink, objects, "
            "smileys & emotion, travel & places, not a, b (see --set #1 data.classes)",
        ),
        (["train.layer_decay=0"], "--set #1: train.layer_decay: should be greater than 0, not 0"),
        (["train.layer_decay=1.5"], "--set #1: train.layer_decay: should be at most 1, not 1.5"),
        (
            ["train.rates={losses: 0.5}"],
            "--set #1: train.rates.losses: a fine-tuning has a head, and no losses; give the rate of head",
        ),
        (
            ["train.rates={fusion: 2}", "head.reads=image"],
            "--set #1: train.rates.fusion: is no part of this model, whose head reads image (see --set #2 head.reads)",
        ),
        (
            ["train.freeze_until={text_encoder: 3}", "head.reads=image"],
            "--set #1: train.freeze_until.text_encoder: is no part of this model, whose head reads image "
            "(see --set #2 head.reads)",
        ),
        (
            ["train.freeze_until={image_encoder: 3}", "train.freeze=[image_encoder]"],
            "--set #1: train.freeze_until.image_encoder: would thaw what train.freeze keeps as it is to the end; "
            "name the part in one of them (see --set #2 train.freeze)",
        ),
        (
            ["train.keep_best=held_out/acuracy"],
            "--set #1: train.keep_best: the best of this fine-tuning is what has the highest held_out/accuracy, "
            "not held_out/acuracy",
        ),
        (
            ["train.keep_best=held_out/accuracy", "head.multi_label=true"],
            "--set #1: train.keep_best: the best of this fine-tuning is what has the highest "
            "held_out/mean_average_precision, not held_out/accuracy",
        ),
        (
            ["train.keep_best=held_out/accuracy", "data.held_out=null"],
            "--set #1: train.keep_best: nothing is held out to choose the best by; see data.held_out",
        ),
        (
            ["train.parallel=fsdp"],
            "--set #1: train.parallel: a fine-tuning is one process, and shares its model with no other",
        ),
        (
            ["train.shard_ranks=2"],
            "--set #1: train.shard_ranks: a fine-tuning is one process, and shares its model with no other",
        ),
        (["head.reads=sound"], "--set #1: head.reads: should be image or text or fused, not 'sound'"),
        (["head.classes=6"], "--set #1: head.classes: unknown field; it belongs in data"),
        (["head.type=flava.mlp"], "--set #1: head: no head named 'flava.mlp'; there is flava.linear_classifier, "
         "flava.mlp_classifier"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_with_its_place(changes: list[str], problem: str) -> None:
    """Before anything is read of the pretrained model, and anything heavy is imported."""
    with pytest.raises(SpecError) as caught:
        fp.load_finetune("flava.emoji_groups", set=changes)

    assert problem in str(caught.value).splitlines()


def test_an_image_folder_cannot_be_read_as_texts(tmp_path: Path) -> None:
    """A head that reads text, on data that has images alone."""
    folder = class_folders(tmp_path, {"a": 1, "b": 1})
    with pytest.raises(SpecError, match=r"data\.train: the head reads text, but the source has no text \(see "):
        fp.load_finetune(
            "flava.emoji_groups",
            set=[f"data.train={{type: flava.image_folder, folder: {folder}}}", "head.reads=text", "data.held_out=null"],
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["train.freeze=[text_encoder]", "head.reads=image"], "text_encoder is no part of this model"),
        (["train.evaluate_every=1", "data.held_out=null"], "train.evaluate_every: nothing is held out"),
        ([], "is still to be given: the folder of a pretrained model, as --from"),
    ],
)
def test_what_is_odd_is_a_warning(changes: list[str], message: str) -> None:
    assert any(message in str(warning) for warning in load("flava.emoji_groups", set=changes).warnings)


def test_settings_that_a_fine_tuning_has_a_use_for_are_right() -> None:
    """What is wrong of another head, or beside another setting."""
    changes = [
        "train.rates={head: 2, fusion: 2, text_encoder: 0.5}",
        "train.freeze_until={text_encoder: 3}",
        "train.freeze=[image_encoder]",
        "train.keep_best=held_out/accuracy",
        "train.evaluate_every=1",
        "train.parallel=ddp",
    ]

    assert ["pretrained"] == [warning.loc[0] for warning in load("flava.emoji_groups", set=changes).warnings]


def without_fusion(folder: Path) -> Path:
    """A pretrained run whose model has two towers."""
    spec = tiny_run("model.fusion=null", *(f"model.losses.{name}=null" for name in ("mmm_image", "mmm_text", "itm")))
    model = compose(spec.model, vocab=spec.data.tokenizer.vocab())
    state = State(model=model, optimizer=spec.train.optimizer.build(model=model))
    Checkpoints(folder / CHECKPOINTS, to_yaml(spec)).save(state.tensors(), state.facts())
    return folder


def test_a_pretrained_model_that_does_not_fit_is_said(model_folder: Path, tmp_path: Path) -> None:
    """Without fusion, with too short a text encoder, with patches that do not tile; each at its place."""
    towers = without_fusion(tmp_path / "towers")
    wrong = [
        (towers, ["head.reads=fused"], "head.reads: reads fused, but the model has no fusion; read image or text"),
        (
            model_folder,
            ["head.reads=text", "data.tokenizer={type: flava.wordpiece, length: 40}"],
            "data.tokenizer.length: texts of 40 tokens do not fit an encoder of 32",
        ),
        (model_folder, ["data.image_size=100"], "data.image_size: patches of 16 pixels do not tile a side of 100"),
    ]
    for pretrained, changes, message in wrong:
        with pytest.raises(SpecError) as caught:
            finetune(tiny(pretrained, *changes), tmp_path / "run", log=silent)

        assert message in str(caught.value).splitlines()
        assert not (tmp_path / "run").exists()


def test_weights_that_are_missing_are_listed(model_folder: Path, tmp_path: Path) -> None:
    """Where the spec names another model than the pretrained one, each tensor that does not fit is said."""
    other = tiny_run("model.image_encoder.depth=2").model
    spec = tiny(model_folder).model_copy(update={"model": other})
    with pytest.raises(InputError, match=r"image_encoder: does not fit the spec: blocks\.1\..* is missing; .* more"):
        finetune(spec, tmp_path / "run", log=silent)


def test_nothing_to_start_from_is_said_on_the_command_line(run: Run) -> None:
    code, _, errors = run("finetune", "--set", "train.steps=1")

    assert 2 == code
    assert "pretrained: is missing: give the folder of a pretrained model, as --from" in errors
    assert 1 == len(errors.splitlines())


def test_the_command(run: Run, model_folder: Path, tmp_path: Path) -> None:
    """From the preset and a pretrained folder to a table of what was measured; then again, from the folder alone."""
    changes = [flag for change in TINY if "observers" not in change for flag in ("--set", change)]
    code, out, errors = run("finetune", "--from", str(model_folder), "--out", "groups", *changes)

    assert 0 == code, errors
    assert "held_out" in out
    assert "accuracy" in out
    assert "the model: groups" in out
    assert {"spec.yaml", "losses.png", "checkpoints"} <= {path.name for path in (tmp_path / "groups").iterdir()}
    code, again, errors = run("finetune", "--out", "groups")

    assert 0 == code, errors
    assert out == again
    assert "going on from groups/checkpoints/step-00000004, after step 4" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["finetune", "--from", "nowhere"], "nowhere: "),
        (["finetune", "flava.emoji"], "flava.emoji:2:1: model: this is a run, where a fine-tuning is asked for"),
        (
            ["train", "flava.emoji_groups"],
            "flava.emoji_groups:3:1: head: this is a fine-tuning, where a run is asked for",
        ),
        (["finetune", "flava.tiny"], "head: is missing: this is a model, where a fine-tuning is asked for"),
    ],
)
def test_the_wrong_thing_is_one_line(run: Run, arguments: list[str], message: str) -> None:
    code, _, errors = run(*arguments)

    assert 2 == code
    assert message in errors
    assert 1 == len(errors.splitlines())


def test_other_verbs_take_a_fine_tuning_file(run: Run) -> None:
    """`check` and `explain`; the model is not known yet."""
    assert "flava.emoji_groups: a fine-tuning, ok" in run("check", "--dry-run", "flava.emoji_groups")[1]
    assert "layer_decay: " in run("explain", "flava.emoji_groups")[1]
