"""The two views: transformers' pixels at evaluation, one shared crop in training."""

import dataclasses
import io
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import ExifTags, Image
from pydantic import ValidationError
from transformers.models.flava.image_processing_pil_flava import FlavaImageProcessorPil

from flava_parts.codebooks.specs import DVAESpec, KMeansSpec
from flava_parts.data.specs import DataSpec
from flava_parts.encoders.specs import ViTSpec
from flava_parts.errors import InputError
from flava_parts.inputs.pictures import PictureError, open_picture
from flava_parts.inputs.processor import Processor
from flava_parts.inputs.settings import ImageProcessorSettings, changed
from flava_parts.inputs.specs import ViewsSpec
from flava_parts.inputs.views import Views
from flava_parts.inputs.wordpiece import WordPiece
from flava_parts.spec import FlavaSpec

MEAN, STD = (torch.tensor(value).reshape(3, 1, 1) for value in (ViewsSpec().mean, ViewsSpec().std))
SIDES = st.integers(1, 40)
T = TypeVar("T")


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def views_of(
    image_size: int | tuple[int, int],
    codebook_size: int | tuple[int, int] | None = None,
    *,
    crop_scale: tuple[float, float] = (0.9, 1.0),
    flip: float = 0.5,
    background: int = 255,
    **settings: object,
) -> Views:
    sizes = {"size": image_size, "codebook_size": codebook_size, "crop_size": None, "codebook_crop_size": None}
    return Views(ImageProcessorSettings.model_validate({**sizes, **settings}), crop_scale, flip, background)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photo() -> np.ndarray:
    """A smooth picture of no symmetry, on which two filters give nearly the same."""
    rows, columns = np.mgrid[:96, :96] / 95
    return (np.stack([rows, columns, (rows + 2 * columns) / 3], axis=-1) * 255).astype(np.uint8)


@given(npst.arrays(np.uint8, st.tuples(st.integers(5, 300), st.integers(5, 300), st.just(3))))
@settings(deadline=None, max_examples=12)
def test_evaluation_equals_transformers(pixels: np.ndarray) -> None:
    """Both views of any picture, bit for bit, at the sizes of flava-full."""
    theirs = FlavaImageProcessorPil()
    expected = theirs(Image.fromarray(pixels), return_codebook_pixels=True, return_tensors="pt")
    actual = views_of(image_size=224, codebook_size=112)([pixels])

    assert torch.equal(expected["pixel_values"], actual.pixel_values)
    assert actual.codebook_pixel_values is not None
    assert torch.equal(expected["codebook_pixel_values"], actual.codebook_pixel_values)


def test_evaluation_equals_transformers_at_other_sizes() -> None:
    """Once transformers is told each size twice."""
    size, small = {"height": 48, "width": 80}, {"height": 24, "width": 40}
    theirs = FlavaImageProcessorPil(size=size, crop_size=size, codebook_size=small, codebook_crop_size=small)
    expected = theirs(Image.fromarray(noise(70, 50)), return_codebook_pixels=True, return_tensors="pt")
    actual = views_of(image_size=(48, 80), codebook_size=(24, 40))([noise(70, 50)])

    assert torch.equal(expected["pixel_values"], actual.pixel_values)
    assert torch.equal(expected["codebook_pixel_values"], actual.codebook_pixel_values)


def test_trap_38_codebook_pixels_are_mapped_from_0_to_1() -> None:
    """Black is 0.1 and white 0.9, whatever mean and deviation the encoder's view is given."""
    pictures = [np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)]
    views = views_of(image_size=8, codebook_size=4, image_mean=(0.5, 0.5, 0.5), image_std=(0.5, 0.5, 0.5))(pictures)
    assert views.codebook_pixel_values is not None
    black, white = views.codebook_pixel_values

    assert torch.equal(torch.full((3, 4, 4), 0.1), black)
    assert torch.allclose(torch.full((3, 4, 4), 0.9), white)
    assert (views.pixel_values.min(), views.pixel_values.max()) == (-1, 1)


@pytest.mark.parametrize("sequence", [list, tuple])
def test_trap_39_mean_and_std_are_lists_or_tuples(sequence: type) -> None:
    mean, std = sequence([0.1, 0.2, 0.3]), sequence([0.5, 0.6, 0.7])
    spec = ViewsSpec(mean=mean, std=std)
    actual = views_of(image_size=6, image_mean=mean, image_std=std)([noise(6, 6)]).pixel_values
    expected = (noise(6, 6).transpose(2, 0, 1) / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))

    assert (tuple(mean), tuple(std)) == (spec.mean, spec.std)
    assert np.allclose(expected, actual[0], atol=1e-6)
    call = {"codebook_image_mean": mean, "codebook_image_std": std, "codebook_do_map_pixels": False}
    processor = Processor(tokenizer=WordPiece(), views=views_of(image_size=6, codebook_size=6))
    codebook = processor(noise(6, 6), **call, return_codebook_pixels=True)["codebook_pixel_values"]
    assert np.allclose(expected, codebook[0], atol=1e-6)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
@settings(deadline=None, max_examples=20)
def test_trap_40_sizes_follow_the_parts(rows: int, columns: int, patch: int, code: int) -> None:
    """One grid, any patches: both views have the sizes that encoder and codebook read, and nobody types them again."""
    model = FlavaSpec(
        image_encoder=ViTSpec(image_size=(rows * patch, columns * patch), patch_size=patch),
        codebook=KMeansSpec(image_size=(rows * code, columns * code), patch_size=code),
    )
    views = Views.of(model, ViewsSpec())([noise(9, 7)])
    assert model.codebook is not None
    assert views.codebook_pixel_values is not None

    assert model.image_encoder.tokens.grid == model.codebook.codes.grid
    assert (1, 3, rows * patch, columns * patch) == views.pixel_values.shape
    assert (1, 3, rows * code, columns * code) == views.codebook_pixel_values.shape


def test_size_384_stays_384() -> None:
    """The other half of trap 40: one number changes the view, no crop undoes it."""
    model = FlavaSpec(image_encoder=ViTSpec(image_size=384), codebook=DVAESpec(image_size=192))
    views = Views.of(model, ViewsSpec())([noise(10, 10)])
    assert views.codebook_pixel_values is not None

    assert (views.pixel_values.shape[2:], views.codebook_pixel_values.shape[2:]) == ((384, 384), (192, 192))


def test_trap_40_one_number_at_a_call_is_enough() -> None:
    """Where sizes follow from a model, crops follow sizes: 480 pixels are 480, and no crop takes them back."""
    processor = Processor.of(FlavaSpec(), DataSpec(streams={}))
    batch = processor(noise(9, 9), size=480, codebook_size=(240, 120), return_codebook_pixels=True)

    assert (1, 3, 480, 480) == batch["pixel_values"].shape
    assert (1, 3, 240, 120) == batch["codebook_pixel_values"].shape
    assert (1, 3, 224, 224) == processor(noise(9, 9))["pixel_values"].shape
    assert (1, 3, 20, 30) == processor(noise(9, 9), size=480, crop_size=(20, 30))["pixel_values"].shape


def test_trap_41_one_crop_and_flip_for_both_views() -> None:
    """At equal sizes both views of a smooth picture are the same picture, though each is cropped at random."""
    views = views_of(image_size=32, codebook_size=32, crop_scale=(0.2, 0.9))([photo()] * 64, seeded(0))
    assert views.codebook_pixel_values is not None
    encoder = views.pixel_values * STD + MEAN
    codebook = (views.codebook_pixel_values - 0.1) / 0.8

    assert (encoder - codebook).abs().max() < 0.02
    assert (encoder[0] - encoder[1]).abs().max() > 0.05


def test_trap_41_grey_and_transparent_pictures_have_views() -> None:
    views = views_of(image_size=8, codebook_size=4, background=255)
    grey, clear = noise(8, 8, 1), np.zeros((8, 8, 4), np.uint8)

    assert views([grey, clear]).pixel_values.shape == (2, 3, 8, 8)
    assert torch.allclose(torch.ones(3, 8, 8), views([clear]).pixel_values[0] * STD + MEAN, atol=1e-6)


def test_flip_mirrors_both_views() -> None:
    whole = {"image_size": 16, "codebook_size": 8, "crop_scale": (1.0, 1.0)}
    straight = views_of(**whole, flip=0.0)([noise(16, 16)], seeded(1))
    mirrored = views_of(**whole, flip=1.0)([noise(16, 16)], seeded(1))

    assert torch.equal(straight.pixel_values.flip(3), mirrored.pixel_values)
    assert torch.equal(straight.codebook_pixel_values.flip(3), mirrored.codebook_pixel_values)
    assert torch.equal(views_of(**whole)([noise(16, 16)]).pixel_values, straight.pixel_values)


def test_flips_come_as_often_as_asked() -> None:
    views = views_of(image_size=1, crop_scale=(0.5, 1.0), flip=0.3)
    crops = views._draw(10_000, seeded(2))

    assert abs(0.3 - sum(crop.flip for crop in crops) / len(crops)) < 0.02


@given(st.floats(0.01, 1), st.floats(0, 1), st.integers(0, 2**32))
@settings(max_examples=40)
def test_crops_lie_inside_and_have_the_asked_area(smallest: float, share: float, seed: int) -> None:
    """Any range of areas: edges within the picture, area within the range, ratio of sides within 3/4 to 4/3."""
    largest = smallest + (1 - smallest) * share
    for crop in views_of(image_size=1, crop_scale=(smallest, largest))._draw(50, seeded(seed)):
        width, height = crop.right - crop.left, crop.bottom - crop.top

        assert 0 <= crop.left < crop.right <= 1
        assert 0 <= crop.top < crop.bottom <= 1
        assert smallest - 1e-9 <= width * height <= largest + 1e-9
        assert 3 / 4 - 1e-9 <= width / height <= 4 / 3 + 1e-9


def test_crops_reach_everywhere() -> None:
    """Areas fill their range and places fill what is left, rather than staying in the middle."""
    crops = views_of(image_size=1, crop_scale=(0.25, 0.75))._draw(5_000, seeded(3))
    areas = [(crop.right - crop.left) * (crop.bottom - crop.top) for crop in crops]
    lefts = [crop.left / (1 - crop.right + crop.left) for crop in crops]
    tops = [crop.top / (1 - crop.bottom + crop.top) for crop in crops]

    for values, low, high in ((areas, 0.25, 0.75), (lefts, 0, 1), (tops, 0, 1)):
        histogram, _ = np.histogram(values, bins=5, range=(low, high))
        assert 0.17 < histogram.min() / len(values) <= histogram.max() / len(values) < 0.23


def test_a_crop_is_that_part_of_the_picture() -> None:
    """The view of a crop is Pillow's resize of its box; on a ramp, its mean is the ramp's value at the box's middle."""
    views = views_of(image_size=24, crop_scale=(0.3, 0.6), flip=0.0)
    pixels = views([photo()] * 20, seeded(4)).pixel_values * STD + MEAN
    for row, crop in zip(pixels, views._draw(20, seeded(4)), strict=True):
        assert abs(float(row[0].mean()) - (crop.top + crop.bottom) / 2) < 0.02
        assert abs(float(row[1].mean()) - (crop.left + crop.right) / 2) < 0.02


@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=4), st.booleans())
@settings(deadline=None, max_examples=20)
def test_pictures_of_a_batch_are_independent(sizes: list[tuple[int, int]], training: bool) -> None:
    """Pictures of different sizes share a batch, and none changes another's views."""
    views = views_of(image_size=(6, 10), codebook_size=(3, 5))
    pictures = [noise(*size, seed=index) for index, size in enumerate(sizes)]
    batch = views(pictures, seeded(5) if training else None)
    others = [pictures[0], *(noise(11, 12, seed=99) for _ in pictures[1:])]
    again = views(others, seeded(5) if training else None)

    assert (len(sizes), 3, 6, 10) == batch.pixel_values.shape
    assert torch.equal(batch.pixel_values[0], again.pixel_values[0])
    assert torch.equal(batch.codebook_pixel_values[0], again.codebook_pixel_values[0])
    if not training:
        assert torch.equal(batch.pixel_values[-1], views(pictures[-1:]).pixel_values[0])


def test_a_whole_batch_is_a_sequence_of_pictures() -> None:
    pixels = np.stack([noise(8, 8, seed=seed) for seed in range(3)])
    expected = views_of(image_size=8)(list(pixels)).pixel_values

    assert torch.equal(expected, views_of(image_size=8)(pixels).pixel_values)
    assert torch.equal(expected, views_of(image_size=8)(torch.from_numpy(pixels).permute(0, 3, 1, 2)).pixel_values)


def test_no_pictures_give_empty_views() -> None:
    views = views_of(image_size=8, codebook_size=4)([], seeded(0))

    assert (views.pixel_values.shape, views.codebook_pixel_values.shape) == ((0, 3, 8, 8), (0, 3, 4, 4))


def test_the_codebook_view_comes_alone_or_not_at_all() -> None:
    views = views_of(image_size=8, codebook_size=4)
    both = views([noise(9, 9)])

    assert torch.equal(both.codebook_pixel_values, views.codebook_view([noise(9, 9)]))
    assert views([noise(9, 9)], codebook=False).codebook_pixel_values is None
    assert views_of(image_size=8)([noise(9, 9)]).codebook_pixel_values is None
    with pytest.raises(InputError, match="a codebook's view was asked for, but the model has no codebook"):
        views_of(image_size=8).codebook_view([noise(9, 9)])


def test_views_of_different_sizes_make_no_tensor() -> None:
    """Where pictures keep their sizes or ratios, batches are lists."""
    pictures = [noise(8, 12), noise(8, 16)]
    views = views_of(image_size={"shortest_edge": 4}, do_center_crop=False)

    assert [(3, 4, 6), (3, 4, 8)] == [view.shape for view in views.arrays(pictures, codebook=False)[0]]
    with pytest.raises(InputError, match="views of 3x4x6 to 3x4x8 make no tensor; leave do_center_crop on"):
        views(pictures)


def test_a_random_crop_has_to_be_resized() -> None:
    with pytest.raises(InputError, match="a random crop has to be resized; leave do_resize and codebook_do_resize on"):
        views_of(image_size=8, do_resize=False)([noise(9, 9)], seeded(0))


def test_sizes_that_cannot_be_are_refused() -> None:
    """No side of 0 pixels, and no picture blown up beyond what would be read."""
    with pytest.raises(InputError, match="a picture of 1x90 cannot be resized to 0x4"):
        views_of(image_size={"max_height": 4, "max_width": 4}, do_center_crop=False)([noise(1, 90)])
    with pytest.raises(InputError, match="a picture of 9x9 cannot be resized to 9000x9000"):
        views_of(image_size=9000, do_center_crop=False)([noise(9, 9)])
    with pytest.raises(ValidationError, match="more than 64 megapixels; give less"):
        views_of(image_size=9000)


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views are the same bits however many threads make them, in the pictures' order, and so is what is said of a bad
    one."""
    pictures = [Image.fromarray(noise(20 + index, 30)) for index in range(9)]
    one_by_one, at_once = (
        in_threads(count, monkeypatch, lambda: views_of(16, 8)(pictures, seeded(1))) for count in (1, 4)
    )
    assert all(torch.equal(first, second) for first, second in zip(one_by_one, at_once, strict=True))
    bad = [pictures[0], b"no picture", pictures[1], b""]
    with pytest.raises(PictureError, match="not the beginning of a JPEG"):
        in_threads(4, monkeypatch, lambda: views_of(16)(bad))


def in_threads(count: int, monkeypatch: pytest.MonkeyPatch, work: Callable[[], T]) -> T:
    monkeypatch.setattr(torch, "get_num_threads", lambda: count)
    return work()


def jpeg(width: int, height: int, *, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    buffer = io.BytesIO()
    Image.fromarray(photo()).resize((width, height)).save(buffer, "JPEG", quality=95, exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("width", "height", "decoded"),
    [(64, 64, (64, 64)), (640, 480, (160, 120)), (480, 4000, (120, 1000)), (71, 900, (71, 900))],
)
def test_shrinks_on_load_as_far_as_views_stay_sharp(width: int, height: int, decoded: tuple[int, int]) -> None:
    """To the smallest size whose smallest crop, of 0.9 of the area, has the 64 pixels of the view."""
    views = dataclasses.replace(views_of(64, 32), shrink_on_load=True)
    assert views.least_side == 72  # 64 / 0.9
    assert open_picture(jpeg(width, height), at_least=views.least_side).size == decoded
    shrunk, whole = views([jpeg(width, height)]), views_of(64, 32)([jpeg(width, height)])
    for near, exact in zip(shrunk, whole, strict=True):
        assert near is not None
        assert exact is not None
        assert near.shape == exact.shape
        assert (near - exact).abs().mean() < 0.02  # of a spread of about 1
        assert torch.equal(near, exact) == (decoded == (width, height))


def test_shrinks_on_load_upright() -> None:
    """A picture on its side is turned after it was decoded smaller, and the rest of the file's faults are found."""
    views = dataclasses.replace(views_of(32), shrink_on_load=True)
    turned, upright = (
        jpeg(400, 300, orientation=6),
        Image.open(io.BytesIO(jpeg(400, 300))).transpose(Image.Transpose.ROTATE_270),
    )
    assert (views([turned]).pixel_values - views([upright]).pixel_values).abs().mean() < 0.02
    with pytest.raises(PictureError, match="truncated"):
        views([turned[:1500]])


@pytest.mark.parametrize("changes", [{"do_resize": False}, {"size": {"shortest_edge": 64}, "crop_size": 64}])
def test_does_not_shrink_what_keeps_its_size(changes: dict[str, object]) -> None:
    views = dataclasses.replace(views_of(64), shrink_on_load=True)
    assert dataclasses.replace(views, settings=changed(views.settings, changes)).least_side is None
    assert views_of(64).least_side is None
