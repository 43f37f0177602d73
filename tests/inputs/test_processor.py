"""The processor: transformers' field names, both modalities, and no argument that is silently dropped."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from transformers import BertTokenizer, FlavaProcessor
from transformers.image_utils import ChannelDimension
from transformers.models.flava.image_processing_pil_flava import FlavaImageProcessorPil
from transformers.utils.generic import PaddingStrategy, TensorType

from flava_parts.codebooks.specs import DVAESpec, KMeansSpec
from flava_parts.data.specs import DataSpec
from flava_parts.encoders.specs import TextTransformerSpec, ViTSpec
from flava_parts.errors import InputError
from flava_parts.facts import IGNORE
from flava_parts.inputs.processor import Processor
from flava_parts.inputs.settings import ImageProcessorSettings
from flava_parts.inputs.specs import WordPieceSpec
from flava_parts.inputs.views import Views
from flava_parts.inputs.vocabulary import SHIPPED
from flava_parts.inputs.wordpiece import WordPiece
from flava_parts.maskers.specs import BlockMaskerSpec, RandomMaskerSpec
from flava_parts.spec import FlavaSpec

MODEL = FlavaSpec(
    image_encoder=ViTSpec(image_size=(16, 24), patch_size=4),
    codebook=KMeansSpec(image_size=(8, 12), patch_size=2),
    image_masker=BlockMaskerSpec(total=8, min_group=2),
)
DATA = DataSpec(streams={}, tokenizer=WordPieceSpec(length=12))
PROCESSOR = Processor.of(MODEL, DATA)


def pictures(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 10, 9, 3), dtype=np.uint8))


def test_fields_and_values_are_those_of_transformers() -> None:
    """What FlavaProcessor returns, under the same names; so it goes straight into either model."""
    texts, images = ["a photo of a cat", "two dogs"], [Image.fromarray(pixels) for pixels in pictures(2)]
    theirs = FlavaProcessor(FlavaImageProcessorPil(), BertTokenizer(str(SHIPPED)))
    expected = theirs(
        images=images,
        text=texts,
        return_image_mask=True,
        return_codebook_pixels=True,
        padding=True,
        return_special_tokens_mask=True,
        return_tensors="pt",
    )
    actual = Processor.of(FlavaSpec(), DataSpec(streams={}))(
        images, texts, return_image_mask=True, return_codebook_pixels=True, return_special_tokens_mask=True
    )

    assert set(expected) == set(actual)
    for name in set(expected) - {"bool_masked_pos"}:
        assert torch.equal(expected[name], actual[name]), name
    assert expected["bool_masked_pos"].flatten(1).shape == actual["bool_masked_pos"].shape


def test_trap_04_unknown_arguments_are_refused_with_a_hint() -> None:
    """`return_masks`, which the reference's own example passes and its processor drops, is an error that helps."""
    with pytest.raises(InputError) as caught:
        PROCESSOR(pictures(1), return_masks=True)

    assert str(caught.value) == "the processor has no argument 'return_masks'; did you mean 'return_image_mask'?"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"do_rescal": False}, "the processor has no argument 'do_rescal'; did you mean 'do_rescale'?"),
        (
            {"images_kwargs": {"sizes": 8}, "text_kwargs": {"paddings": True}},
            "images_kwargs has no argument 'sizes'; did you mean 'size'?; "
            "text_kwargs has no argument 'paddings'; did you mean 'padding'?",
        ),
        ({"text_kwargs": {"size": 8}}, "text_kwargs has no argument 'size'; it takes padding, truncation, "),
        ({"text_pair": "b"}, "the processor has no argument 'text_pair'; FLAVA reads one text a row; join the two"),
        ({"size": "big"}, "size: should be a side, (height, width), or a block as TargetSize has it, not 'big'"),
        ({"size": 0}, "size: should be greater than or equal to 1, not 0"),
        ({"size": {"height": 8}}, "size: give height and width, shortest_edge (and longest_edge), or max_height and "),
        ({"crop_size": {"shortest_edge": 8}}, "crop_size: a crop has a height and a width; give crop_size, or "),
        ({"do_resize": 1}, "do_resize: should be a valid boolean, not 1"),
        ({"resample": 6}, "resample: should be less than or equal to 5, not 6"),
        ({"image_std": (1, 0, 1)}, "image_std: should be greater than or equal to 0.000001, not 0"),
        ({"image_mean": (1, 1)}, "image_mean has 2 values, but a picture has 3 channels; give as many, or one number"),
        ({"padding": "most"}, "padding: should be a valid boolean or 'longest', 'max_length' or 'do_not_pad', not 'm"),
        ({"truncation": "only_second"}, "truncation: should be a valid boolean or 'longest_first', 'only_first' or "),
        ({"max_length": 13}, "max_length 13 is not between 2 and 12, the tokenizer's length"),
        ({"stride": 10}, "stride 10 leaves nothing of 10 tokens; give less"),
        ({"pad_to_multiple_of": 5}, "max_length 12 is no multiple of pad_to_multiple_of 5; give one that is"),
        ({"return_tensors": "tf"}, "return_tensors is 'pt', 'np' or None, not 'tf'"),
        ({"return_tensors": "np", "device": "cpu"}, "only tensors have a device; give return_tensors='pt', or no dev"),
        ({"input_size_patches": 2, "return_image_mask": True}, "total_mask_patches: 8 patches to hide, but a grid of "),
        ({"mask_group_max_patches": 1}, "mask_group_max_patches: is below mask_group_min_patches, 2"),
        ({"mask_group_min_aspect_ratio": 2.0}, "mask_group_max_aspect_ratio: is below mask_group_min_aspect_ratio, 2"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(call: dict[str, object], message: str) -> None:
    """Of both kinds, at a call; the processor is none the worse for it."""
    before = PROCESSOR(pictures(1), "a text")
    with pytest.raises(InputError) as caught:
        PROCESSOR(pictures(1), "a text", **call)

    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in PROCESSOR(pictures(1), "a text").items())


def test_unknown_arguments_without_a_neighbour_get_the_list() -> None:
    with pytest.raises(InputError) as caught:
        PROCESSOR(pictures(1), xyz=1, videos=[])

    message = str(caught.value)
    assert "has no argument 'xyz'; it takes images, text, return_tensors, " in message
    assert message.endswith("has no argument 'videos'; FLAVA reads images and text")
    assert "did you mean" not in message


def test_what_is_none_stays_as_it_is() -> None:
    """As in transformers, where None stands for the processor's own setting."""
    expected = PROCESSOR(pictures(2), ["a", "b c"])
    nothing = dict.fromkeys(("size", "do_resize", "image_mean", "crop_size", "padding", "max_length", "stride"))

    assert all(
        torch.equal(expected[name], value) for name, value in PROCESSOR(pictures(2), ["a", "b c"], **nothing).items()
    )


def test_enumerations_of_the_other_libraries_are_taken() -> None:
    plain = PROCESSOR(pictures(1), "a", resample=2, padding="max_length", return_tensors="np")
    members = PROCESSOR(
        pictures(1),
        "a",
        resample=InterpolationMode.BILINEAR,
        padding=PaddingStrategy.MAX_LENGTH,
        return_tensors=TensorType.NUMPY,
        data_format=ChannelDimension.FIRST,
    )

    assert all(np.array_equal(plain[name], members[name]) for name in plain)
    assert np.array_equal(
        plain["pixel_values"], PROCESSOR(pictures(1), resample=Image.Resampling.BILINEAR)["pixel_values"]
    )


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 9))
@settings(deadline=None, max_examples=20)
def test_trap_43_texts_come_cut_and_masked(images: int, texts: int, seed: int) -> None:
    """Every field has its shape, any numbers of pictures and texts; words are masked only where they may be."""
    batch = PROCESSOR(
        pictures(images),
        ["a long text of many words " * (3 * row + 1) for row in range(texts)],
        return_image_mask=True,
        return_codebook_pixels=True,
        return_masked_text=True,
        return_special_tokens_mask=True,
        generator=torch.Generator().manual_seed(seed),
    )
    length = batch["input_ids"].shape[1]
    chosen = batch["mlm_labels"] != IGNORE

    assert length <= 12
    assert (images, 3, 16, 24) == batch["pixel_values"].shape
    assert (images, 3, 8, 12) == batch["codebook_pixel_values"].shape
    assert ((images, 24), torch.bool) == (batch["bool_masked_pos"].shape, batch["bool_masked_pos"].dtype)
    for name in ("attention_mask", "token_type_ids", "special_tokens_mask", "input_ids_masked", "mlm_labels"):
        assert ((texts, length), torch.int64) == (batch[name].shape, batch[name].dtype)
    assert not (chosen & batch["special_tokens_mask"].bool()).any()
    assert torch.equal(batch["input_ids"][~chosen], batch["input_ids_masked"][~chosen])
    assert torch.equal(batch["input_ids"][chosen], batch["mlm_labels"][chosen])


def test_one_modality_gives_its_own_fields() -> None:
    text = {"input_ids", "attention_mask", "token_type_ids"}

    assert text == set(PROCESSOR(text="one text"))
    assert {"pixel_values"} == set(PROCESSOR(pictures(2)))
    assert PROCESSOR() == {}


def test_one_picture_needs_no_list(tmp_path) -> None:
    pixels = pictures(1)[0]
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    expected = PROCESSOR([pixels])["pixel_values"]
    for way in (pixels, pixels[None], torch.from_numpy(pixels), Image.open(path), path, str(path), path.read_bytes()):
        assert torch.equal(expected, PROCESSOR(way)["pixel_values"])


def test_the_generator_decides_everything_random() -> None:
    def drawn(seed: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        options = {"return_image_mask": True, "return_masked_text": True, "augment": True}
        return PROCESSOR(pictures(2), ["seven words are here to be masked"] * 2, **options, generator=generator)

    first, same, other = drawn(1), drawn(1), drawn(2)

    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["pixel_values"], other["pixel_values"])
    assert not torch.equal(first["bool_masked_pos"], other["bool_masked_pos"])


def test_without_a_generator_torchs_seed_decides() -> None:
    torch.manual_seed(3)
    first = PROCESSOR(pictures(1), return_image_mask=True)["bool_masked_pos"]
    torch.manual_seed(3)

    assert torch.equal(first, PROCESSOR(pictures(1), return_image_mask=True)["bool_masked_pos"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"return_masked_text": True}, "return_masked_text needs text and a model with a text_masker"),
        ({"return_codebook_pixels": True}, "return_codebook_pixels needs images and a model with a codebook"),
    ],
)
def test_what_nothing_can_give_is_refused(options: dict[str, bool], message: str) -> None:
    """Whether the part is missing or its modality."""
    views = Views(ImageProcessorSettings(size=8, crop_size=None, codebook_size=None))
    bare = Processor(tokenizer=WordPiece(), views=views)
    with pytest.raises(InputError, match=message):
        PROCESSOR(**options)
    with pytest.raises(InputError, match=message):
        bare(pictures(1), "a text", **options)
    with pytest.raises(InputError, match="return_image_mask needs images"):
        PROCESSOR(text="a text", return_image_mask=True)


def test_a_models_own_masker_draws_the_masks() -> None:
    """A masker of no blocks takes no settings of blocks."""
    model = MODEL.model_copy(update={"image_masker": RandomMaskerSpec(total=5)})
    processor = Processor.of(model, DATA)

    assert (processor(pictures(9), return_image_mask=True)["bool_masked_pos"].sum(1) == 5).all()
    with pytest.raises(InputError, match="total_mask_patches: for masks of blocks, but the model has a RandomMasker"):
        processor(pictures(1), return_image_mask=True, total_mask_patches=3)


def test_settings_follow_from_the_model() -> None:
    """Each number is that of the part that it is about."""
    actual = PROCESSOR.settings

    assert ((16, 24), (8, 12)) == (actual.view.shape, actual.codebook_view and actual.codebook_view.shape)
    assert ((4, 6), 8, 2) == (actual.input_size_patches, actual.total_mask_patches, actual.mask_group_min_patches)
    assert [] == list(PROCESSOR.disagreements(MODEL))


def test_trap_40_a_processor_that_does_not_fit_is_told() -> None:
    """Sizes, grids, words and texts, all of them at once, each with what it disagrees with."""
    other = FlavaSpec(
        image_encoder=ViTSpec(image_size=384, patch_size=16),
        text_encoder=TextTransformerSpec(length=9, vocab_size=1000),
        codebook=DVAESpec(image_size=192),
    )

    assert [
        "size: views of 16x24, but the image encoder reads 384x384 (see image_encoder.image_size)",
        "codebook_size: views of 8x12, but the codebook reads 192x192 (see codebook.image_size)",
        "input_size_patches: masks of 4x6 patches, but the image encoder cuts 24x24 (see image_encoder.patch_size)",
        "model_max_length: texts of 12 tokens do not fit an encoder of 9 (see text_encoder.length)",
        "vocab: 30522 tokens, but the text encoder knows 1000 (see text_encoder.vocab_size)",
    ] == [str(problem) for problem in PROCESSOR.disagreements(other)]


def test_tensors_go_to_their_device() -> None:
    batch = PROCESSOR(pictures(1), "a text", device="meta", return_image_mask=True)

    assert {"meta"} == {tensor.device.type for tensor in batch.values()}
