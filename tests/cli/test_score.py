"""`flava-parts score`: texts in the order in which they fit a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import Run
from PIL import Image

from flava_parts import load_pretrained, load_processor, save_pretrained

TEXTS = ("a red apple", "a cat", "something else that is longer")


@pytest.fixture
def picture(run: Run) -> str:
    """A picture in the working folder."""
    Image.new("RGB", (30, 20), (200, 10, 10)).save("red.png")
    return "red.png"


def test_the_best_comes_first(run: Run, model_folder: Path, picture: str) -> None:
    """With both scores, as the model gives them pair by pair; the table says the same as the JSON."""
    code, out, _ = run("score", picture, *TEXTS, "-m", str(model_folder), "--json")
    found = json.loads(out)
    model, processor = load_pretrained(model_folder), load_processor(model_folder)
    batch = processor(images=3 * [picture], text=TEXTS)
    with torch.inference_mode():
        scores = model.score_pairs(**batch)
    assert scores.match_probability is not None
    expected = sorted(
        zip(scores.similarity.tolist(), scores.match_probability.tolist(), TEXTS, strict=True), reverse=True
    )

    assert (0, picture) == (code, found["picture"])
    assert [text for *_, text in expected] == [row["text"] for row in found["scores"]]
    for (similarity, probability, _), row in zip(expected, found["scores"], strict=True):
        assert (similarity, probability) == pytest.approx((row["similarity"], row["match_probability"]), abs=1e-5)
    _, table, _ = run("score", picture, *TEXTS, "-m", str(model_folder))
    head, *lines = table.splitlines()

    assert ["similarity", "match", "text"] == head.split()
    assert [[f"{s:.3f}", f"{p:.3f}", text] for s, p, text in expected] == [line.split(maxsplit=2) for line in lines]


def test_without_a_matching_loss(run: Run, tmp_path: Path, picture: str) -> None:
    """There is no probability to show."""
    from runs import write_untrained

    folder = write_untrained(tmp_path / "towers", "model.losses.itm=null")
    code, out, _ = run("score", picture, *TEXTS, "-m", str(folder), "--json")

    assert (0, [None] * 3) == (code, [row["match_probability"] for row in json.loads(out)["scores"]])
    assert TEXTS[0] in run("score", picture, *TEXTS, "-m", str(folder))[1]


def test_wrong_input(run: Run, model_folder: Path, picture: str) -> None:
    """One line each; without a text there is nothing to score."""
    Path("bad.jpg").write_bytes(b"no picture")

    assert (2, "", "bad.jpg: not the beginning of a JPEG, PNG or WebP picture\n") == run(
        "score", "bad.jpg", "a cat", "-m", str(model_folder)
    )
    assert (2, "", "none.jpg: no picture could be read (No such file or directory)\n") == run(
        "score", "none.jpg", "a cat", "-m", str(model_folder)
    )
    assert (2, "") == run("score", picture, "-m", str(model_folder))[:2]
    code, out, err = run("score", picture, "a cat", "-m", "nowhere")

    assert (2, "", 1, True) == (code, out, err.count("\n"), err.startswith("nowhere: "))


PLUGIN = """
from typing import Literal
from flava_parts import hookimpl
from flava_parts.losses.specs import ITMSpec


class AcmeSpec(ITMSpec):
    type: Literal["acme.itm"] = "acme.itm"


@hookimpl
def flava_parts_specs():
    return [AcmeSpec]
"""


def test_a_model_with_a_part_of_a_plugin_file(run: Run, model_folder: Path, picture: str) -> None:
    """`-p` says where its parts are, to every verb that uses a finished model."""
    Path("acme.py").write_text(PLUGIN)
    model, processor = load_pretrained(model_folder), load_processor(model_folder)
    save_pretrained(model, "model", processor=processor)
    spec = Path("model/spec.yaml")
    spec.write_text(spec.read_text().replace("type: flava.itm", "type: acme.itm"))
    Path("texts.txt").write_text("a cat")
    verbs = {
        "score": (picture, *TEXTS, "-m", "model"),
        "embed": ("texts.txt", "-m", "model", "--out", "v.safetensors"),
        "eval": ("retrieval", "--model", "model"),
    }
    for verb, arguments in verbs.items():
        assert (2, "") == run(verb, *arguments)[:2]
        assert 0 == run(verb, *arguments, "-p", "acme.py")[0], verb
