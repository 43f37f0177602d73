"""The two views of a picture: the image encoder's and the codebook's, cut from the same place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from ..errors import InputError, Problem
from ..facts import Grid, pair
from .pictures import Picture, open_picture
from .pil_view import PilView
from .settings import Backend, ImageProcessorSettings, TargetSize, ViewSettings
from .torchvision_view import TorchvisionView
from .view import WHOLE, Crop, Opened, View

if TYPE_CHECKING:
    from ..spec import FlavaSpec
    from .specs import ViewsSpec

NARROWEST, WIDEST = 3 / 4, 4 / 3
"""How much a training crop may change a picture's ratio of width to height."""


_VIEWS: dict[Backend, type[View]] = {"pil": PilView, "torchvision": TorchvisionView}


Seen = TypeVar("Seen")

Draws = Generator | Tensor
"""Where the randomness of B crops and flips comes from: a generator, or (B, 5) float64 numbers in [0, 1) themselves."""


class TwoViews(NamedTuple):
    """The views of B pictures."""

    pixel_values: Tensor
    """(B, 3, H, W) float32, normalised by mean and deviation: for the image encoder."""
    codebook_pixel_values: Tensor | None = None
    """(B, 3, h, w) float32 from 0.1 to 0.9: for the codebook. None without one."""


class Levels(NamedTuple):
    """The views of B pictures before they are on their scales, and what puts them there on any device: `toned`."""

    views: TwoViews
    """(B, C, H, W) uint8 each: a quarter of the bytes."""
    tables: TwoViews
    """(C, 256) float32 each: what a level of a channel becomes."""


def toned(levels: Tensor, table: Tensor) -> Tensor:
    """The view (B, C, H, W) float32 of levels, by the table (C, 256) of their channels."""
    channels = torch.arange(len(table), device=table.device)[:, None, None]
    return table[channels, levels.int()]


@dataclass(frozen=True)
class Views:
    """Pictures to both of their views.

    settings: how each view is made; transformers' defaults, which are flava-full's, if not given.
    crop_scale: in training, smallest and largest share of the area that the crop keeps.
    flip: in training, probability that both views are mirrored.
    background: grey level (0 to 255) behind transparent pictures.
    shrink_on_load: JPEG files are decoded no larger than `least_side` asks for.
    """

    settings: ImageProcessorSettings = field(default_factory=ImageProcessorSettings)
    crop_scale: Sequence[float] = (0.9, 1.0)
    flip: float = 0.5
    background: int = 255
    shrink_on_load: bool = False

    @classmethod
    def of(cls, model: FlavaSpec, views: ViewsSpec) -> Views:
        """The views of a model: the sizes are those of its image encoder and codebook."""
        return cls(settings_of(model, views), views.crop_scale, views.flip, views.background, views.shrink_on_load)

    @property
    def least_side(self) -> int | None:
        """As many pixels as each side of a file's picture needs to be left with, so that its smallest crop still has
        those of both views; None if it is decoded as it is, as also where a view's size depends on the picture's."""
        made = [view for view in (self.settings.view, self.settings.codebook_view) if view is not None]
        sizes = [view.size.rectangle if view.do_resize else None for view in made]
        if not self.shrink_on_load or None in sizes:
            return None
        area = self.crop_scale[0]
        share = math.sqrt(area * max(area, NARROWEST))
        return math.ceil(max(side for size in sizes for side in size or ()) / share)

    def __call__(
        self, pictures: Sequence[Picture], generator: Draws | None = None, *, codebook: bool = True
    ) -> TwoViews:
        """The views of B pictures: whole ones, or, with a generator, of one random crop and flip for each picture.

        The crop fills the view, or is resized as the settings say. The codebook's view (left out unless ``codebook``)
        is resampled from the picture itself, not from the encoder's view. Raises `InputError` if the views of
        different pictures have different sizes; `arrays` gives those.
        """
        asked = codebook and self.settings.codebook_view is not None
        pixels, codebook_pixels = self.arrays(pictures, generator, codebook=asked)
        return TwoViews(
            torch.from_numpy(self.stacked(pixels, self.settings.view)),
            torch.from_numpy(self.stacked(codebook_pixels, self.settings.codebook_view)) if asked else None,
        )

    def codebook_view(self, pictures: Sequence[Picture], draws: Draws | None = None) -> Tensor:
        """The codebook's view (B, 3, h, w) alone: of whole pictures, or, with ``draws``, of one random crop each."""
        view = view_of(self._codebook())
        crops = [WHOLE] * len(pictures) if draws is None else self._draw(len(pictures), draws)
        seen = _in_threads(
            lambda picture, crop: self._laid_out(view(self._opened(view, picture), crop)), pictures, crops
        )
        return torch.from_numpy(self.stacked(seen, view.settings))

    def arrays(
        self, pictures: Sequence[Picture], generator: Draws | None = None, *, codebook: bool = True
    ) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        """As calling gives them, but one array a view: of B pictures for the encoder, and for the codebook if asked."""

        def seen(view: View, picture: Opened, crop: Crop) -> NDArray[np.float32]:
            return self._laid_out(view(picture, crop))

        first, *second = self._seen(seen, pictures, generator, self._both(codebook=codebook))
        return first, second[0] if second else []

    def levels(self, pictures: Sequence[Picture], generator: Draws | None = None, *, codebook: bool = True) -> Levels:
        """As calling gives them, bit for bit once they are `toned`, of files or pictures of 8 bits a channel."""
        views = self._both(codebook=codebook and self.settings.codebook_view is not None)
        found = self._seen(View.levels, pictures, generator, views)
        levels = [torch.from_numpy(self.stacked(seen, view.settings)) for view, seen in zip(views, found, strict=True)]
        tables = [torch.from_numpy(view.table(made.shape[1])) for view, made in zip(views, levels, strict=True)]
        return Levels(TwoViews(*levels), TwoViews(*tables))

    def _both(self, *, codebook: bool) -> list[View]:
        """The encoder's view, and the codebook's if asked."""
        return [view_of(self.settings.view), *([view_of(self._codebook())] if codebook else [])]

    def _seen(
        self,
        see: Callable[[View, Opened, Crop], NDArray[Any]],
        pictures: Sequence[Picture],
        generator: Draws | None,
        views: Sequence[View],
    ) -> list[list[NDArray[Any]]]:
        """What ``see`` gives of each picture by each view, in the same crop."""
        if generator is not None and not all(view.settings.do_resize for view in views):
            raise InputError(
                "a random crop has to be resized; leave do_resize and codebook_do_resize on, or augment off"
            )
        crops = [WHOLE] * len(pictures) if generator is None else self._draw(len(pictures), generator)

        def seen(picture: Picture, crop: Crop) -> list[NDArray[Any]]:
            kept: dict[bool, Opened] = {}  # both views mostly start from the same pixels
            for view in views:
                rescales = view.settings.do_rescale
                if rescales not in kept:
                    kept[rescales] = self._opened(view, picture)
            return [see(view, kept[view.settings.do_rescale], crop) for view in views]

        found = _in_threads(seen, pictures, crops)
        return [[of_views[number] for of_views in found] for number in range(len(views))]

    def stacked(self, arrays: Sequence[NDArray[Any]], view: ViewSettings | None) -> NDArray[Any]:
        """The views of B pictures as one array. Raises `InputError` if they have different sizes."""
        shapes = {array.shape for array in arrays}
        if len(shapes) > 1:
            least, most = ("x".join(map(str, shape)) for shape in (min(shapes), max(shapes)))
            raise InputError(
                f"views of {least} to {most} make no tensor; leave do_center_crop on, or ask for return_tensors=None"
            )
        if arrays:
            return np.stack(arrays)
        height, width = (view and view.shape) or (0, 0)
        return self._laid_out(np.empty((0, 3, height, width), dtype=np.float32))

    def _codebook(self) -> ViewSettings:
        view = self.settings.codebook_view
        if view is None:
            raise InputError("a codebook's view was asked for, but the model has no codebook")
        return view

    def _opened(self, view: View, picture: Picture) -> Opened:
        if isinstance(picture, (str, Path, bytes)):
            picture = open_picture(picture, at_least=self.least_side)
        return view.opened(
            picture,
            background=self.background,
            channels=self.settings.input_data_format,
            convert=self.settings.do_convert_rgb,
        )

    def _laid_out(self, view: NDArray[np.float32]) -> NDArray[np.float32]:
        """A view (..., C, H, W) with its channels where the settings have them."""
        return view if self.settings.data_format == "channels_first" else np.moveaxis(view, -3, -1)

    def _draw(self, count: int, generator: Draws) -> list[Crop]:
        """Crops of ``count`` pictures: area uniform, ratio log-uniform among those that fit, place and flip."""
        if isinstance(generator, Generator):
            generator = torch.rand(count, 5, generator=generator, dtype=torch.float64)
        area, ratio, left, top, flip = generator.unbind(1)
        smallest, largest = self.crop_scale
        area = smallest + (largest - smallest) * area
        narrowest, widest = area.clamp(min=NARROWEST).log(), area.reciprocal().clamp(max=WIDEST).log()
        ratio = (narrowest + (widest - narrowest) * ratio).exp()
        width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        left, top = left * (1 - width), top * (1 - height)
        edges = torch.stack([left, top, left + width, top + height]).clamp(max=1)
        return [Crop(*crop) for crop in zip(*edges.tolist(), (flip < self.flip).tolist(), strict=True)]


def _in_threads(
    seen: Callable[[Picture, Crop], Seen], pictures: Sequence[Picture], crops: Sequence[Crop]
) -> list[Seen]:
    """What is seen of each picture and crop, by as many threads as torch has: decoding and resizing let others run.

    By one fewer beside the main thread, which then has work of its own, such as a step of training.
    """
    beside = current_thread() is not main_thread()
    threads = min(torch.get_num_threads() - beside, len(pictures))
    if threads < 2:
        return list(map(seen, pictures, crops))
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(seen, pictures, crops))


def view_of(settings: ViewSettings) -> View:
    """The view that the settings describe, made by their back end."""
    return _VIEWS[settings.backend](settings)


def settings_of(model: FlavaSpec, views: ViewsSpec) -> ImageProcessorSettings:
    """The settings that follow from a model: each number is that of the part it is about, and crops follow sizes."""
    from ..maskers.specs import BlockMaskerSpec

    grid, masker = model.image_encoder.tokens.grid, model.image_masker
    block: dict[str, Any] = {}
    if isinstance(masker, BlockMaskerSpec):
        block = {setting: getattr(masker, argument) for setting, argument in BLOCK_ARGUMENTS.items()}
    return ImageProcessorSettings(
        size=_rectangle(model.image_encoder.image_size),
        crop_size=None,
        backend=views.backend,
        image_mean=views.mean,
        image_std=views.std,
        input_size_patches=grid.rows if grid.rows == grid.columns else (grid.rows, grid.columns),
        codebook_size=None if model.codebook is None else _rectangle(model.codebook.image_size),
        codebook_crop_size=None,
        **block,
    )


BLOCK_ARGUMENTS = {
    "total_mask_patches": "total",
    "mask_group_min_patches": "min_group",
    "mask_group_max_patches": "max_group",
    "mask_group_min_aspect_ratio": "min_aspect",
    "mask_group_max_aspect_ratio": "max_aspect",
    "exact_mask_patches": "exact",
}
"""The settings of masks, and the arguments of `BlockMasker` that they are."""


def mask_grid(settings: ImageProcessorSettings) -> Grid:
    """The patches that masks are drawn over."""
    return Grid(*pair(settings.input_size_patches))


def disagreements(settings: ImageProcessorSettings, model: FlavaSpec) -> Iterator[Problem]:
    """Where the settings do not fit a model: sizes of both views and the grid of masks."""
    yield from _wrong_size(settings.view, "", "image encoder", model.image_encoder.image_size, ("image_encoder",))
    if model.codebook is not None and settings.codebook_view is not None:
        yield from _wrong_size(
            settings.codebook_view, "codebook_", "codebook", model.codebook.image_size, ("codebook",)
        )
    grid, patches = mask_grid(settings), model.image_encoder.tokens.grid
    if grid != patches:
        yield Problem(
            ("input_size_patches",),
            f"masks of {grid} patches, but the image encoder cuts {patches}",
            see=("image_encoder", "patch_size"),
        )


def _wrong_size(
    view: ViewSettings, prefix: str, reader: str, reads: int | tuple[int, int], part: tuple[str]
) -> Iterator[Problem]:
    wanted, see = "x".join(map(str, pair(reads))), (*part, "image_size")
    if view.shape is None:
        yield Problem(
            (f"{prefix}do_resize",), f"views keep their pictures' sizes, but the {reader} reads {wanted}", see=see
        )
    elif view.shape != pair(reads):
        name = f"{prefix}{'crop_size' if view.crop and view.crop_size else 'size'}"
        yield Problem((name,), f"views of {'x'.join(map(str, view.shape))}, but the {reader} reads {wanted}", see=see)


def _rectangle(size: int | tuple[int, int]) -> TargetSize:
    height, width = pair(size)
    return TargetSize(height=height, width=width)
