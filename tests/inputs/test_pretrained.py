"""Processors in transformers' files: the same outputs whoever wrote and whoever reads, and damage told in one line."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tokenizers import AddedToken
from transformers import (
    AutoImageProcessor,
    AutoProcessor,
    BertTokenizer,
    FlavaImageProcessor,
    FlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.flava.image_processing_pil_flava import FlavaImageProcessorPil

from flava_parts.codebooks.specs import DVAESpec
from flava_parts.data.specs import DataSpec
from flava_parts.encoders.specs import TextTransformerSpec, ViTSpec
from flava_parts.errors import FlavaPartsError, InputError, SpecError
from flava_parts.inputs.pretrained import read_processor, write_processor
from flava_parts.inputs.processor import Processor
from flava_parts.inputs.settings import ImageProcessorSettings, TokenizerSettings
from flava_parts.inputs.views import Views
from flava_parts.inputs.wordpiece import WordPiece
from flava_parts.maskers.specs import RandomMaskerSpec
from flava_parts.spec import FlavaSpec

TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdexyz.,!'", "##b", "##c", "cat", "Cat", "##s", "é", "日")
TEXTS = ["a cat, abc", "Cats! é 日本 <img> x", "[MASK] zzz" + " a" * 30]
IMAGES = [Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30, 50, 3), dtype=np.uint8)) for seed in (1, 2)]

V4 = {
    "codebook_crop_size": {"height": 64, "width": 48},
    "codebook_image_mean": [0.0, 0.0, 0.0],
    "codebook_resample": 3,
    "codebook_size": {"height": 64, "width": 48},
    "crop_size": {"height": 60, "width": 70},
    "do_convert_rgb": None,
    "data_format": "channels_first",
    "default_to_square": True,
    "device": None,
    "disable_grouping": None,
    "image_processor_type": "FlavaImageProcessorFast",
    "image_std": [0.5, 0.25, 0.125],
    "input_data_format": None,
    "mask_group_max_aspect_ratio": None,
    "mask_group_max_patches": None,
    "processor_class": "FlavaProcessor",
    "return_tensors": None,
    "size": {"height": 80, "width": 90},
}
"""As version 4.56 writes it."""

FIRST = {
    "codebook_size": 56,
    "codebook_crop_size": 56,
    "crop_size": 100,
    "feature_extractor_type": "FlavaFeatureExtractor",
    "mask_group_max_patches": None,
    "resample": 2,
    "size": 112,
}
"""As the first versions wrote it: sides as numbers."""


def save_words(folder: Path, tokens: tuple[str, ...] = TOKENS, **options: object) -> BertTokenizer:
    """A tokenizer of transformers, saved."""
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    tokenizer = BertTokenizer(str(vocabulary), **options)
    vocabulary.unlink()
    tokenizer.save_pretrained(folder)
    return tokenizer


def same(
    theirs: FlavaProcessor, ours: Processor, images_kwargs: dict[str, object] | None = None, **call: object
) -> None:
    """Both processors give the same bits for pictures and texts, ours told ``images_kwargs`` besides."""
    asked = {"return_codebook_pixels": True, "padding": True, "truncation": True, "max_length": 12, **call}
    expected = theirs(images=IMAGES, text=TEXTS, **asked, return_tensors="pt")
    actual = ours(IMAGES, TEXTS, **asked, images_kwargs=images_kwargs)

    assert set(expected) == set(actual)
    for name in expected:
        assert torch.equal(expected[name], actual[name]), name


def edit(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    for name, value in changes.items():
        block = content
        *way, last = name.split("__")
        for step in way:
            block = block[step]
        block[last] = value
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A processor as transformers saves it."""
    tokenizer = save_words(tmp_path)
    FlavaProcessor(FlavaImageProcessorPil(), tokenizer).save_pretrained(tmp_path)
    return tmp_path


SIDE = st.integers(8, 40)
STORED = st.fixed_dictionaries(
    {},
    optional={
        "size": st.one_of(SIDE, st.fixed_dictionaries({"shortest_edge": SIDE})),
        "default_to_square": st.booleans(),
        "resample": st.integers(0, 3),
        "do_center_crop": st.just(True),
        "crop_size": SIDE,
        "do_rescale": st.booleans(),
        "do_normalize": st.booleans(),
        "image_mean": st.lists(st.floats(-1, 1), min_size=3, max_size=3),
        "image_std": st.floats(0.1, 2),
        "codebook_size": st.fixed_dictionaries({"height": SIDE, "width": SIDE}),
        "codebook_crop_size": SIDE,
        "codebook_do_map_pixels": st.booleans(),
        "codebook_image_std": st.lists(st.floats(0.1, 2), min_size=3, max_size=3),
        "total_mask_patches": st.integers(1, 196),
        "mask_group_max_patches": st.integers(16, 40),
    },
)
CASES = st.fixed_dictionaries(
    {},
    optional={
        "do_lower_case": st.booleans(),
        "strip_accents": st.booleans(),
        "tokenize_chinese_chars": st.booleans(),
        "model_max_length": st.integers(12, 40),
        "padding_side": st.sampled_from(["left", "right"]),
        "truncation_side": st.sampled_from(["left", "right"]),
    },
)


@given(STORED, CASES)
@settings(max_examples=20)
def test_what_either_writes_the_other_reads(tmp_path_factory, stored: dict[str, object], cases: dict) -> None:
    """Theirs to ours, and on to theirs again, by name and by `AutoProcessor`: the same bits each time."""
    theirs, ours = tmp_path_factory.mktemp("theirs"), tmp_path_factory.mktemp("ours")
    stored = {"resample": 3, **stored}
    processor = FlavaProcessor(FlavaImageProcessor(**stored), save_words(theirs, **cases))
    processor.save_pretrained(theirs)
    read = read_processor(theirs)
    write_processor(read, ours)

    same(processor, read)
    same(FlavaProcessor(FlavaImageProcessor.from_pretrained(ours), BertTokenizer.from_pretrained(ours)), read)
    same(AutoProcessor.from_pretrained(ours), read)
    same(AutoProcessor.from_pretrained(ours, backend="pil"), read, images_kwargs={"backend": "pil"})
    assert read.settings == read_processor(ours).settings
    assert read.tokenizer.settings == read_processor(ours).tokenizer.settings
    same(processor, read_processor(ours))


@pytest.mark.parametrize("content", [V4, FIRST, {"image_processor_type": "FlavaImageProcessor"}])
def test_older_forms_are_read(tmp_path: Path, content: dict[str, object]) -> None:
    """preprocessor_config.json of the versions before 5, and no tokenizer.json but a vocab.txt."""
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token in TOKENS), encoding="utf-8")
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"cls_token": {"content": "[CLS]"}}), encoding="utf-8")
    pictures = {name: value for name, value in content.items() if value is not None and not name.endswith("_type")}
    theirs = FlavaProcessor(FlavaImageProcessor(**pictures), BertTokenizer(str(tmp_path / "vocab.txt")))

    same(theirs, read_processor(tmp_path))
    assert read_processor(tmp_path).tokenizer.length == 512


@pytest.mark.parametrize("name", ["FlavaImageProcessor", "FlavaImageProcessorFast", "FlavaImageProcessorPil", None])
def test_the_back_end_is_the_one_that_transformers_loads(
    saved: Path, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    """torchvision, unless a name says Pillow, which transformers never writes and reads as the other."""
    kind = {"feature_extractor_type": "FlavaFeatureExtractor"} if name is None else {"image_processor_type": name}
    edit(saved / "processor_config.json", image_processor=kind)
    loaded = AutoImageProcessor.from_pretrained(saved)
    read = read_processor(saved).settings.backend

    assert "torchvision" == loaded.backend
    assert ("pil" if name == "FlavaImageProcessorPil" else "torchvision") == read
    monkeypatch.setattr("flava_parts.inputs.pretrained.has_lanczos", lambda: False)  # an older torchvision
    assert ("torchvision" if name == "FlavaImageProcessorFast" else "pil") == read_processor(saved).settings.backend


@pytest.mark.parametrize("backend", ["pil", "torchvision"])
def test_the_back_end_is_kept(tmp_path: Path, backend: str) -> None:
    """By a key of our own; and for version 4 of transformers by the name of its class."""
    views = Views(ImageProcessorSettings(backend=backend))
    write_processor(Processor(tokenizer=WordPiece.of(TOKENS, TokenizerSettings()), views=views), tmp_path)
    written = json.loads((tmp_path / "preprocessor_config.json").read_text(encoding="utf-8"))

    assert backend == read_processor(tmp_path).settings.backend
    assert {"pil": "FlavaImageProcessor", "torchvision": "FlavaImageProcessorFast"}[backend] == written[
        "image_processor_type"
    ]
    assert "backend" not in written  # an attribute that transformers cannot set
    same(AutoProcessor.from_pretrained(tmp_path, backend=backend), read_processor(tmp_path))


def test_the_newer_file_wins(saved: Path) -> None:
    """As in transformers, where both are there."""
    (saved / "preprocessor_config.json").write_text(json.dumps({"size": 3, "crop_size": 3}), encoding="utf-8")

    assert (224, 224) == read_processor(saved).settings.view.shape
    edit(saved / "processor_config.json", image_processor=None)
    assert (3, 3) == read_processor(saved).settings.view.shape


def test_added_tokens_are_matched_whole(tmp_path: Path) -> None:
    """Behind the vocabulary, by the flags that they were added with, back and forth."""
    theirs = save_words(tmp_path, model_max_length=20)
    theirs.add_tokens([AddedToken("<img>", special=True), AddedToken("cats", single_word=True, normalized=True)])
    FlavaProcessor(FlavaImageProcessorPil(), theirs).save_pretrained(tmp_path)
    ours = read_processor(tmp_path)
    write_processor(ours, tmp_path / "again")
    texts = ["a <img> cat", "Cats cats catsa <img>"]

    assert len(TOKENS) + 2 == ours.tokenizer.vocab.size
    for reader in (ours, read_processor(tmp_path / "again"), AutoProcessor.from_pretrained(tmp_path / "again")):
        assert theirs(texts)["input_ids"] == reader(text=texts, padding=False, return_tensors=None)["input_ids"]
    assert "a <img> cat" == ours.decode(ours(text="a <img> cat")["input_ids"][0, 1:-1])


def test_other_special_tokens_are_named_in_the_files(tmp_path: Path) -> None:
    names = {"pad_token": "<p>", "unk_token": "<u>", "cls_token": "<s>", "sep_token": "</s>", "mask_token": "<m>"}
    theirs = save_words(tmp_path, (*TOKENS[5:], *names.values()), model_max_length=30, **names)
    FlavaProcessor(FlavaImageProcessorPil(), theirs).save_pretrained(tmp_path)
    ours = read_processor(tmp_path)

    same(FlavaProcessor(FlavaImageProcessor(), theirs), ours)
    assert ours.tokenizer.vocab.pad == theirs.pad_token_id


def test_a_tokenizer_saved_as_any_fast_one_says_its_own_case(tmp_path: Path) -> None:
    """Then tokenizer.json is the word on how texts are normalised, in transformers as here."""
    save_words(tmp_path, do_lower_case=False)
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"), model_max_length=20)
    theirs.save_pretrained(tmp_path)
    FlavaImageProcessorPil().save_pretrained(tmp_path)
    expected = theirs(["Cat cat"])["input_ids"]

    assert expected == read_processor(tmp_path)(text=["Cat cat"], return_tensors=None)["input_ids"]


def test_without_a_file_for_pictures_the_model_says_it(saved: Path) -> None:
    (saved / "processor_config.json").unlink()
    model = FlavaSpec(image_encoder=ViTSpec(image_size=384), codebook=DVAESpec(image_size=192))

    assert (384, 384) == read_processor(saved, model).settings.view.shape
    with pytest.raises(InputError, match=r"holds neither preprocessor_config.json nor processor_config.json; give a"):
        read_processor(saved)


def test_trap_40_files_that_do_not_fit_the_model_are_told(saved: Path) -> None:
    """All disagreements at once, each with its file and with the part that it disagrees with."""
    edit(saved / "tokenizer_config.json", model_max_length=100)
    model = FlavaSpec(
        image_encoder=ViTSpec(image_size=384),
        codebook=DVAESpec(image_size=192),
        text_encoder=TextTransformerSpec(length=77, vocab_size=20),
    )
    with pytest.raises(SpecError) as caught:
        read_processor(saved, model)

    pictures, words = saved / "processor_config.json", saved / "tokenizer_config.json"
    assert [
        f"{pictures}: crop_size: views of 224x224, but the image encoder reads 384x384 (see image_encoder.image_size)",
        f"{pictures}: codebook_crop_size: views of 112x112, but the codebook reads 192x192 (see codebook.image_size)",
        f"{pictures}: input_size_patches: masks of 14x14 patches, but the image encoder cuts 24x24 "
        "(see image_encoder.patch_size)",
        f"{words}: model_max_length: texts of 100 tokens do not fit an encoder of 77 (see text_encoder.length)",
        f"{words}: vocab: {len(TOKENS)} tokens, but the text encoder knows 20 (see text_encoder.vocab_size)",
    ] == str(caught.value).split("\n")


def test_pictures_of_no_one_size_do_not_fit(saved: Path) -> None:
    edit(saved / "processor_config.json", image_processor__do_resize=False, image_processor__do_center_crop=False)
    with pytest.raises(
        SpecError, match="do_resize: views keep their pictures' sizes, but the image encoder reads 224x"
    ):
        read_processor(saved, FlavaSpec())


def test_a_fitting_processor_brings_the_models_maskers(saved: Path) -> None:
    model = FlavaSpec(image_masker=RandomMaskerSpec(total=7), text_masker=None)
    processor = read_processor(saved, model)

    assert 7 == processor(IMAGES[:1], return_image_mask=True)["bool_masked_pos"].sum()
    with pytest.raises(InputError, match="return_masked_text needs text and a model with a text_masker"):
        processor(text="a", return_masked_text=True)
    assert read_processor(saved)(text=["a b c"] * 50, return_masked_text=True)["mlm_labels"].max() > 0


def test_texts_are_as_long_as_the_model_reads_where_no_file_says(saved: Path) -> None:
    assert "model_max_length" in (saved / "tokenizer_config.json").read_text(encoding="utf-8")  # beyond all measure

    assert 512 == read_processor(saved).tokenizer.length
    assert 77 == read_processor(saved, FlavaSpec(text_encoder=TextTransformerSpec(length=77))).tokenizer.length


def test_what_follows_from_a_model_is_written_out(tmp_path: Path) -> None:
    """Crops too, so that transformers does what we do; a model without a codebook leaves its settings out."""
    model = FlavaSpec(image_encoder=ViTSpec(image_size=(32, 48)), codebook=DVAESpec(image_size=(16, 24)))
    processor = Processor.of(model, DataSpec(streams={}))
    write_processor(processor, tmp_path)
    same(AutoProcessor.from_pretrained(tmp_path, backend="pil"), processor)

    assert (2, 3) == read_processor(tmp_path, model).settings.input_size_patches
    write_processor(Processor.of(model.model_copy(update={"codebook": None}), DataSpec(streams={})), tmp_path)
    assert "codebook_size" not in json.loads((tmp_path / "preprocessor_config.json").read_text(encoding="utf-8"))


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="the processor could not be written"):
        write_processor(
            Processor(tokenizer=WordPiece.of(TOKENS, TokenizerSettings()), views=Views()), tmp_path / "file"
        )


PRECOMPILED = {"type": "Precompiled", "precompiled_charsmap": ""}
DEEP = "[" * 100_000 + "]" * 100_000


def abort(content: dict) -> None:
    """A model whose merges end the process inside the library: the prefix ends within a character."""
    content["model"] = {"type": "BPE", "vocab": {"h": 0, "é": 1, "hé": 2}, "merges": [["h", "é"]]}
    content["model"]["continuing_subword_prefix"] = "a"


def test_a_crafted_tokenizer_ends_nothing(saved: Path) -> None:
    """One makes the tokenizers library panic, one ends its process; here both are errors in one line."""
    path = saved / "tokenizer.json"
    good = json.loads(path.read_text(encoding="utf-8"))
    load = "import sys, tokenizers; tokenizers.Tokenizer.from_file(sys.argv[1])"
    path.write_text(json.dumps({**good, "normalizer": PRECOMPILED}), encoding="utf-8")
    panicked = subprocess.run([sys.executable, "-c", load, str(path)], capture_output=True, text=True, check=False)
    assert "PanicException" in panicked.stderr
    with pytest.raises(InputError) as caught:
        read_processor(saved)
    assert f"{path}: normalizer is of type 'Precompiled'; FLAVA's tokenizer is BERT's" == str(caught.value)

    abort(good)
    path.write_text(json.dumps(good), encoding="utf-8")
    aborted = subprocess.run([sys.executable, "-c", load, str(path)], capture_output=True, text=True, check=False)
    assert aborted.returncode < 0
    with pytest.raises(InputError, match="model is of type 'BPE'; FLAVA's tokenizer is BERT's"):
        read_processor(saved)


ADDED = {"id": 40, "content": "<x>", "special": True}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "model is of type null; FLAVA's tokenizer is BERT's"),
        ({"model": [1]}, "model is [1] where a block is wanted; FLAVA's tokenizer is BERT's"),
        ({"model__type": "Unigram"}, "model is of type 'Unigram'; FLAVA's tokenizer is BERT's"),
        ({"model__continuing_subword_prefix": "@@"}, "model.continuing_subword_prefix is '@@', not '##'; FLAVA's"),
        ({"model__max_input_chars_per_word": 0}, "model.max_input_chars_per_word is 0, not 100; FLAVA's"),
        ({"model__vocab": []}, "model.vocab is a block of tokens and their ids, not []"),
        ({"model__vocab": {"a": 0, "b": 4_000_000_000}}, "the id of 'b' is 4000000000; 2 tokens have ids from 0"),
        ({"model__vocab": {"a": 0, "b": -1}}, "the id of 'b' is -1; 2 tokens have ids from 0"),
        ({"model__vocab": {"a": 0, "b": "1"}}, "the id of 'b' is '1'; 2 tokens have ids from 0"),
        ({"model__vocab": {"a": 0, "b": 0}}, "two tokens have one id; each needs its own"),
        ({"model__vocab": {"a": 0, "[CLS]": 1}}, "the vocabulary has no [PAD], [UNK], [SEP], [MASK]; name the special"),
        ({"normalizer__clean_text": False}, "normalizer does not clean texts; FLAVA's tokenizer is BERT's"),
        ({"normalizer": None}, "normalizer is of type null; FLAVA's tokenizer is BERT's"),
        ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}}}, "pre_tokenizer is of type 'Split'; "),
        ({"decoder": {"type": "CTC"}}, "decoder is of type 'CTC'; FLAVA's tokenizer is BERT's"),
        ({"post_processor": None}, "post_processor is of type null; FLAVA's tokenizer is BERT's"),
        ({"post_processor__single": []}, "post_processor puts other tokens around a text than [CLS] and [SEP]"),
        ({"post_processor__special_tokens": {}}, "post_processor puts other tokens around a text than [CLS] and [SEP]"),
        ({"added_tokens": 3}, "the added tokens are not blocks of content and flags; save them anew"),
        ({"added_tokens": [{"id": 3}]}, "the added tokens are not blocks of content and flags; save them anew"),
        ({"added_tokens": [{**ADDED, "content": ""}]}, "the added tokens are not blocks of content and flags; "),
        ({"added_tokens": [ADDED]}, "the added token '<x>' cannot have the id 40; save it anew"),
        ({"added_tokens": [{**ADDED, "id": 0}]}, "the added token '<x>' cannot have the id 0; save it anew"),
        ({"added_tokens": [{**ADDED, "id": len(TOKENS), "content": "a"}]}, "the added token 'a' cannot have the id "),
    ],
)
def test_wrong_tokenizers_are_told_in_one_line(saved: Path, changes: dict[str, object], message: str) -> None:
    path = saved / "tokenizer.json"
    edit(path, **changes)
    with pytest.raises(InputError) as caught:
        read_processor(saved)

    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("processor_config.json", "{", "damaged JSON (Expecting property name"),
        ("processor_config.json", b"\xff\xfe", "damaged JSON ('utf-8' codec can't decode byte 0xff"),
        ("processor_config.json", DEEP, "damaged JSON (nested too deep); save or download it anew"),
        ("processor_config.json", "[]", "holds [] where a block of names is wanted"),
        ("processor_config.json", '{"image_processor": 3}', "image_processor is a block of settings, not 3"),
        (
            "processor_config.json",
            '{"image_processor": {"image_processor_type": "CLIPImageProcessor"}}',
            "the settings of 'CLIPImageProcessor'; FLAVA's are those of FlavaImageProcessor",
        ),
        (
            "processor_config.json",
            '{"image_processor": {"codebok_size": 3}}',
            "no setting 'codebok_size'; did you mean 'codebook_size'?",
        ),
        ("processor_config.json", '{"image_processor": {"size": "a"}}', "size: should be a side, (height, width), or"),
        ("processor_config.json", '{"image_processor": {"rescale_factor": NaN}}', "rescale_factor: should be a finite"),
        ("processor_config.json", '{"image_processor": {"do_resize": "yes"}}', "do_resize: should be a valid boolean"),
        ("tokenizer_config.json", '{"tokenizer_class": "T5Tokenizer"}', "the settings of 'T5Tokenizer'; FLAVA's token"),
        ("tokenizer_config.json", '{"do_lower_case": 1}', None),
        ("tokenizer_config.json", '{"tokenizer_class": "BertTokenizer", "do_lower_case": 1}', "do_lower_case: should"),
        ("tokenizer_config.json", '{"model_max_length": "x"}', "model_max_length: should be a valid integer, not 'x'"),
        ("tokenizer_config.json", '{"cls_token": 3}', "cls_token: should be a valid string, not 3"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"x": {}}}', "the added tokens are not blocks of content"),
        ("tokenizer.json", "", "damaged JSON (Expecting value"),
        ("special_tokens_map.json", "null", "holds null where a block of names is wanted"),
    ],
)
def test_damaged_files_are_told_in_one_line(saved: Path, name: str, content: str | bytes, message: str | None) -> None:
    """Damaged, of another type, of another architecture: the file, what is wrong, and what to try."""
    (saved / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    if message is None:  # tokenizer.json says it, the other file does not count
        assert read_processor(saved).tokenizer.settings.do_lower_case
        return
    with pytest.raises(InputError) as caught:
        read_processor(saved)

    assert str(caught.value).startswith(f"{saved / name}: {message}")
    assert "\n" not in str(caught.value)


def test_missing_files_are_told(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"nowhere: no such folder; download the processor's files and give the folder"
    ):
        read_processor(tmp_path / "nowhere")
    (saved / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"holds neither tokenizer\.json nor vocab\.txt; give a folder with one"):
        read_processor(saved)
    (saved / "vocab.txt").write_text("a\nb\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"vocab\.txt: the vocabulary has no \[PAD\], \[UNK\], \[CLS\], \[SEP\]"):
        read_processor(saved)


def test_a_file_beyond_all_measure_is_not_read(saved: Path) -> None:
    with open(saved / "tokenizer.json", "r+b") as file:
        file.truncate(100_000_000)  # takes no room on the disk
    with pytest.raises(InputError, match="more than 64 MB; this is no file of a processor"):
        read_processor(saved)


VALUES = [
    None,
    True,
    -1,
    0,
    2**40,
    1e300,
    "",
    "a",
    "\ud800",
    [],
    {},
    [[]],
    {"type": "Sequence"},
    [1, 2, 3],
    {"content": 3},
]


@pytest.mark.parametrize("name", ["processor_config.json", "tokenizer_config.json", "tokenizer.json"])
def test_any_value_anywhere_is_read_or_told(saved: Path, name: str) -> None:
    """Each value in turn replaced by what it is not: a processor that works, or an error of ours."""
    path = saved / name
    good = path.read_text(encoding="utf-8")
    lots = random.Random(name)
    for _ in range(150):
        content = json.loads(good)
        places = []

        def walk(block, places=places) -> None:
            for key, value in block.items() if isinstance(block, dict) else enumerate(block):
                places.append((block, key))
                if isinstance(value, (dict, list)):
                    walk(value)

        walk(content)
        block, key = lots.choice(places)
        block[key] = lots.choice(VALUES)
        path.write_text(json.dumps(content), encoding="utf-8")
        try:
            batch = read_processor(saved)(IMAGES[:1], TEXTS[:1], return_codebook_pixels=True, return_image_mask=True)
        except FlavaPartsError:
            continue
        assert batch["input_ids"].max() < len(TOKENS)
