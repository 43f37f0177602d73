"""The processor: transformers' field names, both modalities, and no argument that is silently dropped."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import BertTokenizer, FlavaProcessor
from transformers.models.flava.image_processing_pil_flava import FlavaImageProcessorPil

from flava_parts.codebooks.specs import KMeansSpec
from flava_parts.data.specs import DataSpec
from flava_parts.encoders.specs import ViTSpec
from flava_parts.errors import InputError
from flava_parts.facts import IGNORE
from flava_parts.inputs.processor import Processor
from flava_parts.inputs.specs import WordPieceSpec
from flava_parts.inputs.views import Views
from flava_parts.inputs.vocabulary import SHIPPED
from flava_parts.inputs.wordpiece import WordPiece
from flava_parts.maskers.specs import BlockMaskerSpec
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


def test_unknown_arguments_without_a_neighbour_get_the_list() -> None:
    with pytest.raises(InputError) as caught:
        PROCESSOR(pictures(1), do_rescale=False, xyz=1)

    message = str(caught.value)
    assert "has no argument 'xyz'; it takes images, text, return_image_mask, " in message
    assert "has no argument 'do_rescale'; it takes " in message
    assert "did you mean" not in message


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
        ({"return_image_mask": True}, "return_image_mask needs images and a model with an image_masker"),
        ({"return_masked_text": True}, "return_masked_text needs text and a model with a text_masker"),
        ({"return_codebook_pixels": True}, "return_codebook_pixels needs images and a model with a codebook"),
    ],
)
def test_what_nothing_can_give_is_refused(options: dict[str, bool], message: str) -> None:
    """Whether the part is missing or its modality."""
    bare = Processor(tokenizer=WordPiece(), views=Views(image_size=8))
    with pytest.raises(InputError, match=message):
        PROCESSOR(**options)
    with pytest.raises(InputError, match=message):
        bare(pictures(1), "a text", **options)
