"""`flava-parts eval`: what is measured, on which pictures, and how it is shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Run
from PIL import Image

from flava_parts import load_pretrained, load_processor
from flava_parts.cli import models
from flava_parts.data.sources.specs import EmojiSpec, ImageFolderSpec
from flava_parts.evaluate.captions import read_captions
from flava_parts.evaluate.probe import LinearProbe
from flava_parts.evaluate.retrieval import CaptionRetrieval, Retrieval
from flava_parts.evaluate.zero_shot import ZeroShot


@pytest.fixture
def folders(run: Run) -> None:
    """Pictures of two classes, in `train` and in `test`."""
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        for name, colour in (("red", (200, 10, 10)), ("dark_blue", (10, 10, 120))):
            Path(part, name).mkdir(parents=True)
            for index in range(5):
                pixels = (np.array(colour) + generator.integers(0, 50, (20, 20, 3))).astype(np.uint8)
                Image.fromarray(pixels).save(f"{part}/{name}/{index}.png")


def evaluated(run: Run, *arguments: str) -> dict[str, Any]:
    code, out, _ = run("eval", *arguments, "--json")

    assert 0 == code
    return json.loads(out)


def measured(evaluation: Any, model_folder: Path) -> Any:
    """What the evaluation itself says."""
    return evaluation(load_pretrained(model_folder), load_processor(model_folder))


def test_zero_shot(run: Run, model_folder: Path, folders: None) -> None:
    """On a folder, with templates; the table shows the same shares."""
    arguments = ("zero-shot", "test", "-m", str(model_folder), "--template", "{}", "--template", "a {} thing")
    spec = ImageFolderSpec(folder="test")
    evaluation = ZeroShot(source=spec.build(), classes=spec.classes, templates=("{}", "a {} thing"))
    result = measured(evaluation, model_folder)

    assert {"pictures": 10, "accuracy": result.accuracy, **result.record} == evaluated(run, *arguments)
    code, out, err = run("eval", *arguments)
    head, pictures, classes = out.splitlines()

    assert (0, "descriptions: 4 of 4\npictures: 10 of 10\n") == (code, err)
    assert ["10", "pictures,", "2", "classes", "top1"] == head.split()
    assert ["pictures", f"{result.record['pictures/top1']:.1%}".removesuffix("%"), "%"] == pictures.split()
    assert "classes" == classes.split()[0]


def test_zero_shot_of_the_emoji(run: Run, model_folder: Path) -> None:
    """Of the held-out ones, by group."""
    found = evaluated(run, "zero-shot", "-m", str(model_folder))

    assert 205 == found["pictures"]
    assert set(EmojiSpec().classes) == set(found["accuracy"])
    assert found["pictures/top1"] <= found["pictures/top5"]


def test_retrieval(run: Run, model_folder: Path, folders: None) -> None:
    """Among the pictures of a file with all their captions."""
    rows = ["picture\tcaption", "test/red/0.png\tred", "test/red/0.png\tcrimson", "test/dark_blue/1.png\tnight"]
    Path("c.tsv").write_text("\n".join(rows) + "\n")
    result = measured(CaptionRetrieval(captioned=read_captions(Path("c.tsv"))), model_folder)
    found = evaluated(run, "retrieval", "c.tsv", "-m", str(model_folder), "--batch-size", "1")

    assert {"pictures": 2, "captions": 3, **result.record} == found
    code, out, err = run("eval", "retrieval", "c.tsv", "-m", str(model_folder))

    assert (0, "pictures: 2 of 2\ncaptions: 3 of 3\n") == (code, err)
    assert ["2", "pictures,", "3", "captions", "top1", "top5", "top10"] == out.splitlines()[0].split()
    assert ["image_to_text", "text_to_image"] == [line.split()[0] for line in out.splitlines()[1:]]


def test_retrieval_of_the_emoji(run: Run, model_folder: Path) -> None:
    """As the run itself measures it."""
    result = measured(Retrieval(source=EmojiSpec(split="held_out").build()), model_folder)

    assert {"pictures": 205, "captions": 205, **result.record} == evaluated(run, "retrieval", "-m", str(model_folder))


def test_probe(run: Run, model_folder: Path, folders: None) -> None:
    """On two folders: the strength is chosen, or given."""
    arguments = ("probe", "--train", "train", "--test", "test", "-m", str(model_folder))
    train, test = ImageFolderSpec(folder="train"), ImageFolderSpec(folder="test")
    evaluation = LinearProbe(
        train=train.build(), test=test.build(), train_classes=train.classes, test_classes=test.classes
    )
    result = measured(evaluation, model_folder)

    assert {"pictures": 10, "accuracy": result.accuracy, **result.record} == evaluated(run, *arguments)
    assert 0.5 == evaluated(run, *arguments, "--c", "0.5")["c"]
    code, out, err = run("eval", *arguments, "--c", "1e3")

    assert (0, "training pictures: 10 of 10\ntest pictures: 10 of 10\n") == (code, err)
    assert ["10", "pictures,", "c", "=", "1e+03", "top1"] == out.splitlines()[0].split()
    assert ["pictures", "100.0", "%"] == out.splitlines()[1].split()


def test_wrong_input(run: Run, model_folder: Path, folders: None) -> None:
    """One line each."""
    Path("train/empty").mkdir()
    Path("c.csv").write_text("picture,caption\nnone.png,a\n")
    Path("bare").mkdir()
    Path("bad/red").mkdir(parents=True)
    Path("bad/red/0.png").write_bytes(b"no picture")
    model = ("-m", str(model_folder))
    for arguments, message in (
        (("zero-shot", "train"), "train/empty: holds no JPEG, PNG or WebP picture; add some, or remove the folder"),
        (("zero-shot", "bare"), "bare: has no sub-folders; put the pictures of each class into one of its name"),
        (("zero-shot", "test", "--template", "a"), "--template 'a': has no {} where the name of a class goes"),
        (
            ("retrieval", "c.csv"),
            "c.csv:2: there is no picture 'none.png'; paths are relative to the file's folder",
        ),
        (("probe", "--train", "test"), "--train and --test go together; leave both out for the emoji"),
        (("probe", "--train", "test", "--test", "bad", "--c", "0"), "--c 0.0: should be a number above 0"),
        (("probe", "--train", "test", "--test", "bad", "--c", "nan"), "--c nan: should be a number above 0"),
        (
            ("probe", "--train", "bad", "--test", "test", "--c", "1"),
            "test: the class 'dark_blue' is not among those of train",
        ),
    ):
        assert (2, "", f"{message}\n") == run("eval", *arguments, *model)
    code, out, err = run("eval", "zero-shot", "bad", *model)

    assert (2, "", "bad/red/0.png: not the beginning of a JPEG, PNG or WebP picture") == (
        code,
        out,
        err.splitlines()[-1],
    )
    code, out, err = run("eval", "zero-shot", "test", "-m", "nowhere")

    assert (2, "", 1, True) == (code, out, err.count("\n"), err.startswith("nowhere: "))


def test_without_a_measure(run: Run) -> None:
    """The three are named."""
    code, out, err = run("eval")

    assert 2 == code
    assert all(f"  {name} " in out + err for name in ("zero-shot", "retrieval", "probe"))


# -------------------------------------------------------------------------------------------------- progress


def test_plain_lines_come_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """After ten seconds without one, and at the end of each part."""
    now = [0.0]
    monkeypatch.setattr(models, "monotonic", lambda: now[0])
    with models.Progress() as progress:
        for seconds, what, done in ((1, "a", 1), (9, "a", 2), (11, "a", 3), (12, "a", 4), (13, "a", 5), (14, "b", 5)):
            now[0] = seconds
            progress(what, done, 5)

    assert "a: 3 of 5\na: 5 of 5\nb: 5 of 5\n" == capsys.readouterr().err


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """For each part."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with models.Progress() as progress:
        progress("pictures", 3, 4)
        progress("texts", 1, 2)
    shown = capsys.readouterr().err

    assert "pictures" in shown
    assert "3/4" in shown
    assert "1/2" in shown
