"""Settings: sizes as transformers works them out, defaults as it has them, and changes that say what is wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertTokenizer
from transformers.image_transforms import get_resize_output_image_size, get_size_with_aspect_ratio
from transformers.image_utils import ChannelDimension, get_image_size_for_max_height_width
from transformers.models.flava.image_processing_pil_flava import FlavaImageProcessorPil

from flava_parts.errors import InputError
from flava_parts.inputs.settings import (
    ImageProcessorSettings,
    TargetSize,
    TextSettings,
    TokenizerSettings,
    changed,
)

SIDE = st.integers(1, 3000)


@given(SIDE, SIDE, SIDE, SIDE)
def test_sizes_are_those_of_transformers(height: int, width: int, first: int, second: int) -> None:
    """For every way to say a size, of pictures of every size."""
    blank = np.broadcast_to(np.uint8(0), (3, height, width))
    shortest = get_resize_output_image_size(
        blank, first, default_to_square=False, input_data_format=ChannelDimension.FIRST
    )

    assert shortest == TargetSize(shortest_edge=first).fitted(height, width)
    assert get_size_with_aspect_ratio((height, width), first, second) == TargetSize(
        shortest_edge=first, longest_edge=second
    ).fitted(height, width)
    assert get_image_size_for_max_height_width((height, width), first, second) == TargetSize(
        max_height=first, max_width=second
    ).fitted(height, width)
    assert (first, second) == TargetSize(height=first, width=second).fitted(height, width)


def test_names_and_defaults_are_those_of_transformers() -> None:
    """Every parameter of its image processor is a setting here, and has its default."""
    theirs = FlavaImageProcessorPil()
    others = {"do_pad", "pad_size", "image_seq_length", "device", "return_tensors"}
    known = {name for name in theirs._valid_kwargs_names if name not in others}
    ours = ImageProcessorSettings()

    assert known | {"exact_mask_patches", "backend"} == set(ImageProcessorSettings.model_fields)
    for name in known - {"do_convert_rgb", "data_format"}:
        expected, actual = getattr(theirs, name), getattr(ours, name)
        if isinstance(actual, TargetSize):
            assert dict(expected) == actual.entries()
        else:
            expected = tuple(expected) if isinstance(expected, list) else expected
            assert expected == actual, name
    assert (ours.do_convert_rgb, ours.data_format) == (True, "channels_first")


def test_a_tokenizers_names_and_defaults_are_those_of_transformers() -> None:
    theirs = BertTokenizer()
    for name, value in TokenizerSettings():
        if name != "model_max_length":  # there, beyond all measure
            assert getattr(theirs, name) == value, name


def test_a_side_is_a_square_or_the_shortest_edge() -> None:
    """As `default_to_square` says; crops are always square."""
    square = ImageProcessorSettings(size=8, crop_size=7, codebook_size=6)
    shortest = ImageProcessorSettings(size=8, crop_size=7, codebook_size=6, default_to_square=False)

    assert ({"height": 8, "width": 8}, {"height": 7, "width": 7}) == (square.size.entries(), square.crop_size.entries())
    assert {"shortest_edge": 8} == shortest.size.entries()
    assert {"shortest_edge": 6} == shortest.codebook_size.entries()
    assert {"height": 7, "width": 7} == shortest.crop_size.entries()
    assert {"shortest_edge": 5} == changed(shortest, {"size": 5}).size.entries()


@given(st.sampled_from([ImageProcessorSettings(), TextSettings(), TokenizerSettings()]))
def test_settings_survive_their_own_fields(settings) -> None:
    """Changing each field to what it is changes nothing."""
    assert settings == changed(settings, {name: getattr(settings, name) for name in type(settings).model_fields})
    assert settings == changed(settings, settings.model_dump(exclude_none=True))
    assert changed(settings, {}) is settings


def test_changes_leave_what_they_change_as_it_was() -> None:
    before = ImageProcessorSettings()
    after = changed(before, {"size": 8, "crop_size": (3, 4)})

    assert ((224, 224), (3, 4)) == (before.view.shape, after.view.shape)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(InputError, match=r"^file: no setting 'do_resise'; did you mean 'do_resize'\?$"):
        changed(ImageProcessorSettings(), {"do_resise": True}, where="file: ")
    with pytest.raises(InputError, match=r"^no setting 'qqq'$"):
        changed(ImageProcessorSettings(), {"qqq": True})
