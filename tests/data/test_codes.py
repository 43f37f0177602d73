"""Codes that are read instead of computed: the same ones, or an error that says what differs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from data.made_up import MadeUpSpec
from data.test_loader import MODEL
from limits import file_size_limit

from flava_parts.codebooks.codebook import Codebook
from flava_parts.data.codes import FACTS, source_name
from flava_parts.data.keyed import keyed_generator
from flava_parts.data.loader import Batches
from flava_parts.data.sources.specs import GlossesSpec
from flava_parts.data.specs import DataSpec, StreamSpec
from flava_parts.data.tokenizing import tokenize
from flava_parts.errors import InputError
from flava_parts.facts import Codes
from flava_parts.inputs.specs import ViewsSpec
from flava_parts.inputs.views import Views

SOURCE = MadeUpSpec(size=70, bad_every=10)
VIEWS = ViewsSpec(crop_scale=(0.3, 0.6))
assert MODEL.codebook is not None
CODES: Codes = MODEL.codebook.codes


def batches(codes: Path | None = None, *, views: ViewsSpec = VIEWS, source=SOURCE) -> Batches:
    streams = {
        "pairs": StreamSpec(source=source),
        "images": StreamSpec(source=source, use="images"),
        "texts": StreamSpec(source=GlossesSpec(), use="texts"),
    }
    data = DataSpec(streams=streams, views=views, codes=None if codes is None else str(codes))
    return Batches(data=data, model=MODEL, batch_size=10, seed=0)


@pytest.fixture(scope="module")
def codebook() -> Codebook:
    codebook = MODEL.codebook.build()
    codebook.fit(batches().codebook_pixels(60), keyed_generator("test"))
    return codebook


def write(folder: Path, codebook: Codebook, crops: int, *, views: ViewsSpec = VIEWS, source=SOURCE) -> Path:
    tokenize(
        folder,
        codebook=codebook,
        codes=CODES,
        views=Views.of(MODEL, views),
        sources=[source, source],
        crops=crops,
        seed=5,
        log=lambda text: None,
    )
    return folder


@pytest.fixture(scope="module", params=[0, 3])
def stored(request, codebook, tmp_path_factory) -> tuple[Path, int]:
    return write(tmp_path_factory.mktemp("codes") / "c", codebook, request.param), request.param


def test_stored_codes_are_those_that_the_codebook_gives(stored, codebook) -> None:
    """For each row of a batch: the codes that stand in it are those of a view that the codebook is shown of its crop,
    and the encoder sees the same crop."""
    folder, crops = stored
    read = batches(folder)
    read.check_codes(codebook)
    views, source = Views.of(MODEL, VIEWS), SOURCE.build()
    seen = set()
    for step in range(12):
        batch = read.batch(step)
        if batch.stream == "texts":
            assert "mim_labels" not in batch.tensors
            continue
        for row, key in enumerate(batch.samples):
            picture = source.sample(int(key)).image
            found = None
            for crop in range(max(crops, 1)):
                draws = None
                if crops:
                    from flava_parts.data.codes import crop_draws
                    from flava_parts.data.keyed import name_number

                    number = name_number(source_name(SOURCE))
                    draws = torch.from_numpy(crop_draws(5, number, np.array([int(key)]), crop))
                both = views([picture], draws)
                if torch.equal(both.pixel_values[0], batch.tensors["pixel_values"][row]):
                    found = crop
                    codes = codebook(both.codebook_pixel_values)[0]
                    assert torch.equal(codes, batch.tensors["mim_labels"][row])
            assert found is not None
            seen.add(found)
        assert "codebook_pixel_values" not in batch.tensors
    assert set(range(max(crops, 1))) == seen


def test_codes_are_small_and_mapped(stored) -> None:
    """One byte a code where the vocabulary allows it; equal sources are stored once; bad samples are listed."""
    folder, crops = stored
    files = sorted(path.name for path in folder.iterdir())
    array = np.load(folder / f"{source_name(SOURCE)}.npy", mmap_mode="r", allow_pickle=False)

    assert [FACTS, f"{source_name(SOURCE)}.npy"] == files
    assert ((70, max(crops, 1), 16), np.uint8) == (array.shape, array.dtype)
    assert {source_name(SOURCE): {"samples": 70, "bad": [1, 11, 21, 31, 41, 51, 61]}} == json.loads(
        (folder / FACTS).read_text()
    )["sources"]


def test_another_codebook_is_named(stored, codebook) -> None:
    other = MODEL.codebook.build()
    other.load_state_dict({name: value + 1 for name, value in codebook.state_dict().items()})
    with pytest.raises(InputError, match=r"codes are of another codebook or other views: codebook\.weights is"):
        batches(stored[0]).check_codes(other)


def test_other_views_are_named(stored, codebook) -> None:
    """What the codebook is shown: always the background, and how crops are cut only if there are any."""
    folder, crops = stored
    with pytest.raises(InputError, match=r"view\.background is 255 there, 0 here"):
        batches(folder, views=VIEWS.model_copy(update={"background": 0})).check_codes(codebook)
    narrower = batches(folder, views=VIEWS.model_copy(update={"crop_scale": (0.5, 0.6)}))
    if crops:
        with pytest.raises(InputError, match=r"crop\.scale is \[0\.3, 0\.6\] there, \[0\.5, 0\.6\] here"):
            narrower.check_codes(codebook)
    else:
        narrower.check_codes(codebook)


def test_other_data_are_named(stored, codebook, tmp_path) -> None:
    with pytest.raises(InputError, match=r"holds no codes of the source of data\.streams\.pairs"):
        batches(stored[0], source=SOURCE.model_copy(update={"size": 80})).check_codes(codebook)
    folder = write(tmp_path / "c", codebook, 0)
    facts = json.loads((folder / FACTS).read_text())
    facts["sources"][source_name(SOURCE)]["samples"] = 71
    (folder / FACTS).write_text(json.dumps(facts))
    with pytest.raises(
        InputError, match=r"holds codes of 71 samples, but the source of data\.streams\.pairs has 70 now"
    ):
        batches(folder).check_codes(codebook)


@pytest.mark.parametrize("said", ["which", "how many", "none"])
def test_what_had_no_codes_is_not_trained_on(codebook, tmp_path, monkeypatch, said: str) -> None:
    """A picture that is mended after the codes were made; also where an older folder only counts the bad ones.

    Pictures whose codes are truly all zero are good where nothing was bad.
    """
    folder = write(tmp_path / "c", codebook, 2)
    facts = json.loads((folder / FACTS).read_text())
    facts["sources"][source_name(SOURCE)]["bad"] = {"which": [1, 11, 21, 31, 41, 51, 61], "how many": 7, "none": 0}[
        said
    ]
    (folder / FACTS).write_text(json.dumps(facts))
    read = batches(folder)
    read.check_codes(codebook)
    before = [read.batch(step) for step in range(10)]
    monkeypatch.setattr("data.made_up.MadeUp.is_bad", lambda self, index: False)

    assert all(batch.tensors["mim_labels"].any(dim=1).all() for batch in before if batch.stream != "texts")
    if said == "none":
        assert 10 == len([read.batch(step) for step in range(10)])
        return
    with pytest.raises(
        InputError, match=r"holds no codes of sample \d*1 of the source of data\.streams\.\w+, which .*anew"
    ):
        [read.batch(step) for step in range(10)]


def test_a_place_that_cannot_be_written_is_named(codebook, tmp_path) -> None:
    """A file instead of a folder; a disk that is full."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"/file: cannot be read or written \(File exists\)"):
        write(tmp_path / "file", codebook, 0)
    with file_size_limit(100), pytest.raises(InputError, match=r"\.npy: cannot be written \(File too large\)"):
        write(tmp_path / "full", codebook, 0)
    assert not (tmp_path / "full" / FACTS).exists()
    write(tmp_path / "full", codebook, 0)


def test_what_is_no_folder_of_codes_is_one_line(codebook, tmp_path) -> None:
    with pytest.raises(InputError, match=r"codes\.json: cannot be read \(No such file"):
        batches(tmp_path)
    (tmp_path / FACTS).write_text("{}")
    with pytest.raises(InputError, match="is not what `flava-parts data tokenize` writes"):
        batches(tmp_path)
    folder = write(tmp_path / "c", codebook, 0)
    path = folder / f"{source_name(SOURCE)}.npy"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"\.npy: the codes cannot be read"):
        [batches(folder).batch(step) for step in range(5)]
    with pytest.raises(InputError, match="holds codes already; choose another folder"):
        write(folder, codebook, 0)


def test_the_command_writes_what_a_run_reads(run, tmp_path) -> None:
    """The emoji run, tiny, with stored codes: same codebook, since it is fitted by the same seed."""
    from runs import TINY

    changes = [
        word for change in (*TINY, "train.steps=1", "data.streams.aligned.ratio=0.01") for word in ("--set", change)
    ]
    code, out, err = run("data", "tokenize", "flava.emoji", "--out", "codes", "--crops", "2", *changes)

    assert (0, True) == (code, "use them with: --set data.codes=codes" in out), err
    code, _, err = run("train", "--out", "r", "--set", "data.codes=codes", *changes)
    assert 0 == code, err
    code, _, err = run("train", "--out", "s", "--set", "data.codes=codes", *changes, "--set", "train.seed=1")
    assert (2, True) == (code, "codebook.weights is" in err)
