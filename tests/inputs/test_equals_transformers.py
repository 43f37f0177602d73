"""The processor against transformers', argument by argument, on pictures of every kind."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import BertTokenizer, FlavaImageProcessor, FlavaProcessor
from transformers.models.flava.image_processing_pil_flava import FlavaImageProcessorPil

from flava_parts.errors import InputError
from flava_parts.inputs.processor import Processor
from flava_parts.inputs.settings import ImageProcessorSettings, TextSettings, TokenizerSettings
from flava_parts.inputs.views import Views
from flava_parts.inputs.vocabulary import SHIPPED, read_vocabulary
from flava_parts.inputs.wordpiece import WordPiece

TOKENIZER = WordPiece(length=24)
PROCESSOR = Processor(tokenizer=TOKENIZER, views=Views())
THEIRS = FlavaProcessor(FlavaImageProcessorPil(), BertTokenizer(str(SHIPPED), model_max_length=24))

SIDE = st.integers(4, 60)
SIZE = st.one_of(
    SIDE,
    st.tuples(SIDE, SIDE).map(list),
    st.fixed_dictionaries({"height": SIDE, "width": SIDE}),
    st.fixed_dictionaries({"shortest_edge": SIDE}),
    st.fixed_dictionaries({"shortest_edge": SIDE, "longest_edge": SIDE}),
    st.fixed_dictionaries({"max_height": SIDE, "max_width": SIDE}),
)
CROP = st.one_of(SIDE, st.tuples(SIDE, SIDE).map(list), st.fixed_dictionaries({"height": SIDE, "width": SIDE}))
FACTOR = st.sampled_from([1 / 255, 1 / 127.5, 2.0, 0.1])
MEAN = st.one_of(st.floats(-1, 1), st.lists(st.floats(-1, 1), min_size=3, max_size=3))
STD = st.one_of(st.floats(0.1, 2), st.lists(st.floats(0.1, 2), min_size=3, max_size=3))
VIEW = {
    "do_resize": st.booleans(),
    "size": SIZE,
    "resample": st.integers(0, 5),
    "do_center_crop": st.booleans(),
    "crop_size": CROP,
    "do_rescale": st.booleans(),
    "rescale_factor": FACTOR,
    "do_normalize": st.booleans(),
    "image_mean": MEAN,
    "image_std": STD,
}
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        **VIEW,
        **{f"codebook_{name}": values for name, values in VIEW.items()},
        "codebook_do_map_pixels": st.booleans(),
        "default_to_square": st.booleans(),
        "return_codebook_pixels": st.booleans(),
        "disable_grouping": st.booleans(),
    },
)


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


@st.composite
def pictures(draw: st.DrawFn) -> tuple[object, dict[str, object]]:
    """A picture, and what both processors have to be told about it."""
    height, width, seed = draw(st.integers(5, 60)), draw(st.integers(5, 60)), draw(st.integers(0, 9))
    kind = draw(st.sampled_from(["pillow", "array", "tensor", "floats", "fractions", "whole", "long"]))
    pixels = noise(height, width, seed=seed)
    if kind == "pillow":
        return Image.fromarray(pixels), {}
    options: dict[str, object] = {}
    if draw(st.booleans()):
        pixels = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        options["input_data_format"] = "channels_first"
    elif draw(st.booleans()):
        options["input_data_format"] = "channels_last"
    if kind in ("floats", "fractions"):  # on a scale from 0 to 1: nothing to rescale
        options |= {"do_rescale": False, "codebook_do_rescale": False}
        dtype = draw(st.sampled_from([np.float32, np.float64]))
        rows = np.random.default_rng(seed).random(pixels.shape) if kind == "floats" else pixels / 255
        return rows.astype(dtype), options
    if kind == "whole":
        return pixels.astype(np.float32), options
    if kind == "long":
        return torch.from_numpy(pixels.astype(np.int64)), options
    return (pixels if kind == "array" else torch.from_numpy(pixels)), options


def theirs_of(kind: type, stored: dict[str, object], call: dict[str, object], picture: object) -> dict[str, np.ndarray]:
    """What one of transformers' back ends gives for one picture, as float32."""
    # At a call, the codebook's sizes are refused but as blocks, its mean and deviation but as numbers (trap 39).
    square = call.get("default_to_square", stored.get("default_to_square", True))
    early = {name: call.pop(name) for name in list(call) if name.startswith(("codebook_image_", "codebook_size"))}
    if isinstance(side := early.get("codebook_size"), int):
        early["codebook_size"] = {"height": side, "width": side} if square else {"shortest_edge": side}
    if "codebook_crop_size" in call:
        early["codebook_crop_size"] = call.pop("codebook_crop_size")
    stored = {**stored, **early}
    found = kind(**stored)([picture], **call)
    return {name: np.asarray(values[0], dtype=np.float32) for name, values in found.items()}


BACKENDS = {"pil": FlavaImageProcessorPil, "torchvision": FlavaImageProcessor}


@pytest.mark.parametrize("backend", BACKENDS)
@given(pictures(), ARGUMENTS, ARGUMENTS)
@settings(max_examples=300)
def test_any_arguments_on_any_picture(
    backend: str, picture, stored: dict[str, object], call: dict[str, object]
) -> None:
    """Bit for bit what that back end gives, settings stored or given at the call; an error where it has one."""
    picture, options = picture
    call = {**call, **options}
    try:
        expected = theirs_of(BACKENDS[backend], stored, dict(call), picture)
    except (ValueError, RuntimeError):  # the latter for sizes and filters that torchvision does not have
        with pytest.raises(InputError):
            ours_of(backend, stored, call, picture)
        return
    actual = ours_of(backend, stored, call, picture)

    assert set(expected) == set(actual)
    for name, (view,) in actual.items():
        assert np.float32 == view.dtype
        assert np.array_equal(expected[name], view), name


def test_a_filter_is_needed_only_where_something_is_resized() -> None:
    """A picture that has its size already is left alone, whatever the filter is called, as torchvision leaves it."""
    stored: dict[str, object] = {"resample": 4, "size": 5, "do_center_crop": False}
    same, other = Image.new("RGB", (5, 5), (10, 20, 30)), Image.new("RGB", (6, 5))
    expected = theirs_of(BACKENDS["torchvision"], stored, {}, same)

    assert np.array_equal(expected["pixel_values"], ours_of("torchvision", stored, {}, same)["pixel_values"][0])
    with pytest.raises(InputError, match="torchvision has no box filter"):
        ours_of("torchvision", stored, {}, other)


def ours_of(
    backend: str, stored: dict[str, object], call: dict[str, object], picture: object
) -> dict[str, list[np.ndarray]]:
    views = Views(ImageProcessorSettings.model_validate({**stored, "backend": backend}))
    return Processor(tokenizer=TOKENIZER, views=views)([picture], return_tensors=None, **call)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "HSV"])
@given(st.integers(5, 60), st.integers(5, 60), st.integers(0, 9))
@settings(max_examples=5)
def test_pillows_modes(backend: str, mode: str, height: int, width: int, seed: int) -> None:
    """What transformers converts if it is told to is converted anyway, to the same bits."""
    picture = Image.fromarray(noise(height, width, 4 if mode in ("LA", "RGBA") else 3, seed))
    picture = picture.convert("RGB").convert("P").convert(mode) if mode in ("P", "PA") else picture.convert(mode)
    theirs = BACKENDS[backend](do_convert_rgb=True)
    expected = theirs(picture, return_codebook_pixels=True, return_tensors="pt")
    actual = PROCESSOR(picture, return_codebook_pixels=True, backend=backend)

    for name in expected:
        assert torch.equal(expected[name], actual[name])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("kind", ["array", "tensor", "floats"])
@pytest.mark.parametrize("first", [True, False])
def test_arrays_of_other_channels(backend: str, channels: int, kind: str, first: bool) -> None:
    pixels = noise(30, 41, channels)
    pixels = pixels.transpose(2, 0, 1).copy() if first else pixels
    options = {"do_rescale": False} if kind == "floats" else {}
    picture = {"array": pixels, "tensor": torch.from_numpy(pixels), "floats": (pixels / 255).astype(np.float32)}[kind]
    expected = BACKENDS[backend](do_convert_rgb=True)(picture, **options, return_tensors="pt")

    assert torch.equal(expected["pixel_values"], PROCESSOR(picture, **options, backend=backend)["pixel_values"])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("pillow", [True, False])
def test_pictures_may_keep_their_channels(backend: str, channels: int, pillow: bool) -> None:
    """Without conversion, as transformers has it if it is not told: one mean for all channels, or none."""
    pixels = noise(30, 41, channels)
    picture = Image.fromarray(pixels[..., 0] if channels == 1 else pixels) if pillow else pixels
    options = {"image_mean": 0.5, "image_std": 0.25, "do_convert_rgb": False}
    expected = BACKENDS[backend]()(picture, **options, return_tensors="pt")["pixel_values"]

    assert (1, channels, 224, 224) == expected.shape
    assert torch.equal(expected, PROCESSOR(picture, **options, backend=backend)["pixel_values"])
    if channels != 3:
        with pytest.raises(InputError, match=f"image_mean has 3 values, but a picture has {channels} channels"):
            PROCESSOR(picture, do_convert_rgb=False, backend=backend)


def photo(height: int, width: int) -> np.ndarray:
    """A picture with smooth parts and edges."""
    down, right = np.mgrid[:height, :width]
    pixels = np.stack([127 + 120 * np.sin(down / 9), 127 + 120 * np.cos(right / 7), (down + right) % 256], axis=-1)
    return pixels.astype(np.uint8)


@given(st.integers(5, 700), st.integers(5, 700))
@settings(max_examples=15)
def test_both_back_ends_at_the_sizes_of_flava_full(height: int, width: int) -> None:
    """Each equals its own in transformers, bit for bit, on pictures of all sizes."""
    for backend, kind in BACKENDS.items():
        expected = kind()(Image.fromarray(photo(height, width)), return_codebook_pixels=True, return_tensors="pt")
        actual = PROCESSOR(photo(height, width), return_codebook_pixels=True, backend=backend)
        for name in expected:
            assert torch.equal(expected[name], actual[name])


def test_the_back_ends_are_two() -> None:
    """Their roundings differ: mostly by one grey level of 255, by many where a narrow picture is made much wider."""
    options = {"do_normalize": False}
    levels = {
        size: (
            PROCESSOR(noise(*size), **options)["pixel_values"]
            - PROCESSOR(noise(*size), **options, backend="torchvision")["pixel_values"]
        ).abs()
        * 255
        for size in ((480, 640), (600, 7))
    }

    assert 1 == round(float(levels[480, 640].max()))
    assert round(float(levels[600, 7].max())) > 4


def test_filters_that_torchvision_does_not_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never replaced by another one in silence."""
    with pytest.raises(InputError, match="resample: torchvision has no hamming filter; choose backend='pil'"):
        PROCESSOR(noise(6, 6), resample="hamming", backend="torchvision")
    monkeypatch.setattr("flava_parts.inputs.torchvision_view.has_lanczos", lambda: False)
    with pytest.raises(InputError, match=r"Lanczos takes torchvision 0\.27; update it, or choose backend='pil'"):
        PROCESSOR(noise(6, 6), return_codebook_pixels=True, backend="torchvision")


def test_a_factor_of_zero_leaves_nothing_to_normalise() -> None:
    """transformers divides by it."""
    assert (
        PROCESSOR(noise(6, 6), rescale_factor=0, do_normalize=False, backend="torchvision")["pixel_values"] == 0
    ).all()
    with pytest.raises(InputError, match="rescale_factor: 0 leaves nothing to normalise"):
        PROCESSOR(noise(6, 6), rescale_factor=0, backend="torchvision")


def test_batches_of_every_shape() -> None:
    """Lists, lists of lists, a batch in one array, one picture: what transformers makes of each."""
    batch = np.stack([noise(9, 8, seed=seed) for seed in range(3)])
    images = [Image.fromarray(pixels) for pixels in batch]
    for way in (images, [images[:2], images[2:]], batch, list(batch), [batch[:2], batch[2:]], torch.from_numpy(batch)):
        expected = THEIRS.image_processor(way, return_tensors="np")["pixel_values"]
        actual = PROCESSOR(way, return_tensors="np")["pixel_values"]

        assert np.array_equal(expected, actual)


def test_data_formats() -> None:
    """channels_last is honoured, as documented; "none" is for grey pixels without a channel axis."""
    pixels = noise(30, 20)
    first = PROCESSOR(pixels)["pixel_values"]
    last = PROCESSOR([pixels], data_format="channels_last", return_codebook_pixels=True)

    assert torch.equal(first, last["pixel_values"].permute(0, 3, 1, 2))
    assert (1, 112, 112, 3) == last["codebook_pixel_values"].shape
    assert (0, 224, 224, 3) == PROCESSOR([], data_format="channels_last")["pixel_values"].shape
    assert torch.equal(
        PROCESSOR(pixels[..., 0])["pixel_values"],
        PROCESSOR(pixels[..., 0], input_data_format="none")["pixel_values"],
    )
    with pytest.raises(InputError, match=r"pixels of shape \(30, 20, 3\) with input_data_format 'none'"):
        PROCESSOR(pixels, input_data_format="none")
    with pytest.raises(InputError, match=r"pixels of shape \(30, 20, 3\) with input_data_format 'channels_first'"):
        PROCESSOR(pixels, input_data_format="channels_first")


WORDS = st.sampled_from(["hello", "Ünïcode", "[MASK]", "[SEP]", "unaffable", "日本", "a.b,c", "don't", "😀", "a"])
TEXTS = st.lists(st.lists(WORDS, max_size=14).map(" ".join), min_size=1, max_size=4)
TEXT_ARGUMENTS = st.fixed_dictionaries(
    {
        "padding": st.sampled_from([True, False, "longest", "max_length", "do_not_pad"]),
        "truncation": st.sampled_from([True, False, "longest_first", "only_first", "do_not_truncate"]),
        "max_length": st.one_of(st.none(), st.integers(2, 24)),
    },
    optional={
        "stride": st.integers(0, 3),
        "pad_to_multiple_of": st.sampled_from([1, 2, 4, 8]),
        "padding_side": st.sampled_from(["left", "right"]),
        "add_special_tokens": st.booleans(),
        "return_token_type_ids": st.booleans(),
        "return_attention_mask": st.booleans(),
        "return_overflowing_tokens": st.booleans(),
        "return_special_tokens_mask": st.booleans(),
        "return_offsets_mapping": st.booleans(),
        "return_length": st.booleans(),
        "verbose": st.booleans(),
    },
)


@pytest.mark.filterwarnings("ignore:.*max_length.*is ignored")
@given(TEXTS, TEXT_ARGUMENTS, st.booleans())
@settings(max_examples=400)
def test_any_arguments_on_any_texts(texts: list[str], arguments: dict[str, object], single: bool) -> None:
    """Every row of ids, masks, offsets, lengths and overflow; one text has no list around its row, as there."""
    text = texts[0] if single else texts
    cut, stride = arguments["truncation"] not in (False, "do_not_truncate"), arguments.get("stride", 0)
    if cut and 0 < stride >= (arguments["max_length"] or 24) - 2:
        with pytest.raises(InputError, match=r"stride|multiple"):  # there it is a panic, once a text is long enough
            PROCESSOR(text=text, return_tensors=None, **arguments)
        return
    try:
        expected = dict(THEIRS(text=text, **arguments))
    except ValueError:  # a length that is no multiple
        with pytest.raises(InputError, match="is no multiple of pad_to_multiple_of"):
            PROCESSOR(text=text, return_tensors=None, **arguments)
        return
    lengths = (
        [len(row) for row in expected["input_ids"]]
        if not single or arguments.get("return_overflowing_tokens")
        else [len(expected["input_ids"])]
    )
    if max(lengths) > 24:
        with pytest.raises(InputError, match=r"a text has .* tokens, more than 24; leave truncation on"):
            PROCESSOR(text=text, return_tensors=None, **arguments)
        return

    assert expected == PROCESSOR(text=text, return_tensors=None, **arguments)
    if len(set(lengths)) == 1:
        tensors = PROCESSOR(text=text, return_tensors="pt", **arguments)
        arrays = PROCESSOR(text=text, return_tensors="np", **arguments)
        for name, tensor in THEIRS(text=text, return_tensors="pt", **arguments).items():
            assert torch.int64 == tensors[name].dtype
            assert torch.equal(tensor, tensors[name]), name
            assert np.array_equal(tensor.numpy(), arrays[name])
    else:
        with pytest.raises(InputError, match="make no tensor; leave padding on"):
            PROCESSOR(text=text, **arguments)


@pytest.mark.parametrize("changes", [{"padding_side": "left"}, {"truncation_side": "left"}, {"strip_accents": False}])
@given(TEXTS)
@settings(max_examples=10)
def test_a_tokenizers_own_settings(changes: dict[str, object], texts: list[str]) -> None:
    theirs = BertTokenizer(str(SHIPPED), model_max_length=9, **changes)
    ours = WordPiece.of(read_vocabulary(None), TokenizerSettings(model_max_length=9, **changes))
    expected = theirs(texts, padding=True, truncation=True)["input_ids"]

    assert expected == ours.encode(texts, TextSettings())["input_ids"]


@given(TEXTS, st.booleans(), st.booleans())
@settings(max_examples=40)
def test_decoding(texts: list[str], skip: bool, tight: bool) -> None:
    """Rows, lists of rows, tensors and single ids."""
    theirs = BertTokenizer(str(SHIPPED), clean_up_tokenization_spaces=tight)
    ours = Processor(
        tokenizer=WordPiece.of(read_vocabulary(None), TokenizerSettings(clean_up_tokenization_spaces=tight)),
        views=Views(),
    )
    rows = ours(text=texts, return_tensors=None, padding=False)["input_ids"]
    padded = ours(text=texts)["input_ids"]

    assert theirs.batch_decode(rows, skip_special_tokens=skip) == ours.batch_decode(rows, skip_special_tokens=skip)
    assert theirs.batch_decode(padded) == ours.batch_decode(padded) == ours.decode(padded)
    assert theirs.decode(rows[0], skip_special_tokens=skip) == ours.decode(rows[0], skip_special_tokens=skip)
    assert theirs.decode(padded[0]) == ours.decode(padded[0]) == ours.decode(padded[0].numpy())
    assert theirs.decode(1037) == ours.decode(1037) == "a"


def test_nested_arguments_are_the_same_arguments() -> None:
    """`images_kwargs` and `text_kwargs`, the newer way of transformers, win nothing and lose nothing."""
    image, texts = Image.fromarray(noise(30, 20)), ["one text", "another longer text"]
    nested = {
        "images_kwargs": {"size": 20, "crop_size": (16, 12), "return_codebook_pixels": True},
        "text_kwargs": {"padding": "max_length", "max_length": 9, "truncation": True},
    }
    expected = THEIRS(image, texts, **nested, return_tensors="pt")
    actual = PROCESSOR(image, texts, **nested)

    assert set(expected) == set(actual)
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    with pytest.raises(InputError, match="size: given twice, alone and in images_kwargs or text_kwargs; give it once"):
        PROCESSOR(image, size=20, images_kwargs={"size": 20})


@given(st.integers(4, 16), st.integers(1, 60), st.integers(1, 20), st.floats(0.2, 1), st.integers(0, 9))
@settings(max_examples=25)
def test_masks_are_those_that_the_arguments_describe(
    side: int, total: int, least: int, aspect: float, seed: int
) -> None:
    """Their grid and number, drawn from a generator, exactly as many if asked; more than there are is an error."""
    arguments = {
        "return_image_mask": True,
        "input_size_patches": side,
        "total_mask_patches": total,
        "mask_group_min_patches": least,
        "mask_group_max_patches": least + 5,
        "mask_group_min_aspect_ratio": aspect,
        "mask_group_max_aspect_ratio": aspect + 1,
    }

    def drawn(**more: object) -> torch.Tensor:
        return PROCESSOR([noise(6, 6)] * 3, **arguments, **more, generator=torch.Generator().manual_seed(seed))[
            "bool_masked_pos"
        ]

    if total > side**2:
        with pytest.raises(InputError, match=f"{total} patches to hide, but a grid of {side}x{side} has {side**2}"):
            drawn()
        return
    theirs = FlavaImageProcessorPil()([noise(6, 6)] * 3, **arguments, return_tensors="pt")["bool_masked_pos"]
    masks = drawn()

    assert theirs.flatten(1).shape == masks.shape
    assert torch.bool == masks.dtype
    assert (masks.sum(1) <= total).all()
    assert torch.equal(masks, drawn())
    assert (drawn(exact_mask_patches=True).sum(1) == total).all()
