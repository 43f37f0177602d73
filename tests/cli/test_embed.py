"""`flava-parts embed`: a unit vector for each picture or line, and a word for each picture that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import Run
from PIL import Image

from flava_parts import load_pretrained, load_processor
from flava_parts.evaluate.vectors import read_vectors


@pytest.fixture
def pictures(run: Run) -> list[str]:
    """Three pictures in a folder `pictures`, one of them deeper; a hidden one, and a file that is none."""
    Path("pictures/deep").mkdir(parents=True)
    names = ["b.png", "c.JPG", "deep/a.webp"]
    for index, name in enumerate([*names, ".hidden.png"]):
        Image.new("RGB", (30, 20 + index), (60 * index, 200, 10)).save(f"pictures/{name}")
    Path("pictures/notes.txt").write_text("no picture")
    return names


def test_pictures(run: Run, model_folder: Path, pictures: list[str]) -> None:
    """As the model embeds them, in the order of their names; batches change nothing."""
    said = run("embed", "pictures", "--model", str(model_folder), "--out", "e.safetensors", "--batch-size", "2")
    vectors, names = read_vectors(Path("e.safetensors"))
    model, processor = load_pretrained(model_folder), load_processor(model_folder)
    with torch.inference_mode():
        expected = model.embed_image(processor(images=[f"pictures/{name}" for name in pictures])["pixel_values"])

    assert (0, "e.safetensors: 3 vectors of 128 from pictures\n", "pictures: 3 of 3\n") == said
    assert pictures == names
    torch.testing.assert_close(expected, vectors)
    torch.testing.assert_close(torch.ones(3), vectors.norm(dim=1))


def test_texts(run: Run, model_folder: Path) -> None:
    """One a line; blank lines are none."""
    Path("texts.txt").write_text(
        "a red apple\n\n  a cat that sleeps for a very long time  \nein Käse", encoding="utf-8-sig"
    )
    code, out, _ = run("embed", "texts.txt", "-m", str(model_folder), "--out", "e.safetensors", "--batch-size", "2")
    vectors, names = read_vectors(Path("e.safetensors"))
    batch = load_processor(model_folder)(text=names)
    with torch.inference_mode():
        expected = load_pretrained(model_folder).embed_text(batch["input_ids"], batch["attention_mask"])

    assert (0, "e.safetensors: 3 vectors of 128 from texts.txt\n") == (code, out)
    assert ["a red apple", "a cat that sleeps for a very long time", "ein Käse"] == names
    torch.testing.assert_close(expected, vectors)


def test_pictures_that_cannot_be_read(run: Run, model_folder: Path, pictures: list[str]) -> None:
    """They are named, left out and counted; or the first of them is the end, and nothing is written."""
    Path("pictures/bad.png").write_bytes(b"no picture")
    Path("pictures/b2.png").write_bytes(Path("pictures/b.png").read_bytes()[:50])
    arguments = ("embed", "pictures", "-m", str(model_folder), "--out", "e.safetensors")
    code, _, err = run(*arguments, "--on-error", "raise")

    assert (2, False) == (code, Path("e.safetensors").exists())
    assert err.startswith("pictures/b2.png: no picture could be read (")
    code, out, err = run(*arguments)

    assert (0, "e.safetensors: 3 vectors of 128 from pictures; 2 skipped\n") == (code, out)
    assert pictures == read_vectors(Path("e.safetensors"))[1]
    assert ["pictures/b2.png", "pictures/bad.png"] == [
        line.split(": ")[1] for line in err.splitlines() if line.startswith("skipped: ")
    ]


def test_no_picture_at_all_can_be_read(run: Run, model_folder: Path) -> None:
    Path("pictures").mkdir()
    Path("pictures/bad.png").write_bytes(b"no picture")
    code, out, err = run("embed", "pictures", "-m", str(model_folder), "--out", "e.safetensors")

    assert (2, "") == (code, out)
    assert "there are no pictures, or none that can be read" == err.splitlines()[-1]
    assert not Path("e.safetensors").exists()


def test_wrong_input(run: Run, model_folder: Path) -> None:
    """One line each, before any model is read."""
    Path("empty").mkdir()
    Path("blank.txt").write_text("\n  \n")
    Path("latin.txt").write_bytes(b"K\xe4se\n")
    wanted = "give a folder of pictures, or a file with one text a line"
    for source, message in (
        ("none", f"none: cannot be read (No such file or directory); {wanted}"),
        ("empty", "empty: holds no JPEG, PNG or WebP picture"),
        ("blank.txt", "blank.txt: holds no text; write one a line"),
        ("latin.txt", f"latin.txt: is not UTF-8 text; {wanted}"),
    ):
        assert (2, "", f"{message}\n") == run("embed", source, "-m", str(model_folder), "--out", "e.safetensors")
    Path("good.txt").write_text("a cat\n")

    assert (2, "", "far/e.safetensors: there is no folder far; make it first\n") == run(
        "embed", "good.txt", "-m", str(model_folder), "--out", "far/e.safetensors"
    )
    code, out, err = run("embed", "good.txt", "-m", "nowhere", "--out", "e.safetensors")

    assert (2, "", 1, True) == (code, out, err.count("\n"), err.startswith("nowhere: "))


def test_a_device_that_is_not_there(run: Run, model_folder: Path) -> None:
    Path("good.txt").write_text("a cat\n")
    for device in ("zebra", "cuda:77", "meta"):
        code, out, err = run("embed", "good.txt", "-m", str(model_folder), "--out", "e", "--device", device)

        assert (2, "", 1, True) == (code, out, err.count("\n"), err.startswith(f"--device {device}: "))


def test_models_without_a_shared_space(run: Run, tmp_path: Path) -> None:
    """Nothing could be embedded."""
    from runs import write_untrained

    folder = write_untrained(
        tmp_path / "blind",
        "model.losses.global_contrastive=null",
        "data.streams.aligned=null",
        "evaluate.retrieval=null",
    )
    Path("good.txt").write_text("a cat\n")

    assert (2, "", f"{folder}: the model has no contrastive loss, so its images and texts share no space\n") == run(
        "embed", "good.txt", "-m", str(folder), "--out", "e.safetensors"
    )


def test_an_encoder_alone(run: Run) -> None:
    """As transformers saves one."""
    from reference.oracles import Tiny, hugging_face_config
    from transformers import FlavaImageModel

    FlavaImageModel(hugging_face_config(Tiny()).image_config).save_pretrained("image_model")
    Path("good.txt").write_text("a cat\n")
    code, out, err = run("embed", "good.txt", "-m", "image_model", "--out", "e.safetensors")

    assert (2, "") == (code, out)
    assert "image_model: holds a VisionTransformer alone, not a model of images and texts" == err.splitlines()[-1]
