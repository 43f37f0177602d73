"""The two views of a picture: the image encoder's and the codebook's, cut from the same place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from ..errors import InputError
from ..facts import Size, pair
from .pictures import Picture, rgb

if TYPE_CHECKING:
    from ..spec import FlavaSpec
    from .specs import ViewsSpec

NARROWEST, WIDEST = 3 / 4, 4 / 3
"""How much a training crop may change a picture's ratio of width to height."""

LOGIT_LAPLACE_EPS = 0.1
"""The dVAE's pixels lie between this and 1 - this (Ramesh et al. 2021, appendix A.3)."""


class Crop(NamedTuple):
    """A part of a picture, its edges as shares of the picture's sides, and whether it is mirrored."""

    left: float
    top: float
    right: float
    bottom: float
    flip: bool


WHOLE = Crop(0.0, 0.0, 1.0, 1.0, flip=False)


class TwoViews(NamedTuple):
    """The views of B pictures."""

    pixel_values: Tensor
    """(B, 3, H, W) float32, normalised by mean and deviation: for the image encoder."""
    codebook_pixel_values: Tensor | None
    """(B, 3, h, w) float32 from 0.1 to 0.9: for the codebook. None without one."""


class Views:
    """Pictures to both of their views.

    image_size, codebook_size: sides in pixels or (height, width), facts of the model's parts; no codebook view if None.
    mean, std: of each channel of the encoder's view, on a scale from 0 to 1.
    crop_scale: in training, smallest and largest share of the area that the crop keeps.
    flip: in training, probability that both views are mirrored.
    background: grey level (0 to 255) behind transparent pictures.
    """

    def __init__(
        self,
        *,
        image_size: Size,
        codebook_size: Size | None = None,
        mean: Sequence[float] = (0.48145466, 0.4578275, 0.40821073),
        std: Sequence[float] = (0.26862954, 0.26130258, 0.27577711),
        crop_scale: Sequence[float] = (0.9, 1.0),
        flip: float = 0.5,
        background: int = 255,
    ) -> None:
        self.image_size = pair(image_size)
        self.codebook_size = None if codebook_size is None else pair(codebook_size)
        self.mean = torch.tensor(mean).reshape(3, 1, 1)
        self.std = torch.tensor(std).reshape(3, 1, 1)
        self.smallest, self.largest = crop_scale
        self.flip = flip
        self.background = background

    @classmethod
    def of(cls, model: FlavaSpec, views: ViewsSpec) -> Views:
        """The views of a model: the sizes are those of its image encoder and codebook."""
        codebook_size = None if model.codebook is None else model.codebook.image_size
        return cls(image_size=model.image_encoder.image_size, codebook_size=codebook_size, **views.model_dump())

    def __call__(
        self, pictures: Sequence[Picture], generator: Generator | None = None, *, codebook: bool = True
    ) -> TwoViews:
        """The views of B pictures: whole ones, or, with a generator, of one random crop and flip for each picture.

        The picture's ratio of sides is not kept: the whole picture, or the crop, fills the view. The codebook's view
        (left out unless ``codebook``) is resampled from the picture itself, not from the encoder's view.
        """
        images = [rgb(picture, self.background) for picture in pictures]
        crops = [WHOLE] * len(images) if generator is None else self._draw(len(images), generator)
        pixels = _resample(images, crops, self.image_size, Image.Resampling.BICUBIC)
        pixels = pixels.sub_(self.mean).div_(self.std)
        return TwoViews(pixels, self._codebook_view(images, crops) if codebook and self.codebook_size else None)

    def codebook_view(self, pictures: Sequence[Picture]) -> Tensor:
        """The codebook's view (B, 3, h, w) alone, of whole pictures."""
        images = [rgb(picture, self.background) for picture in pictures]
        return self._codebook_view(images, [WHOLE] * len(images))

    def _codebook_view(self, images: list[Image.Image], crops: list[Crop]) -> Tensor:
        if self.codebook_size is None:
            raise InputError("a codebook's view was asked for, but the model has no codebook")
        pixels = _resample(images, crops, self.codebook_size, Image.Resampling.LANCZOS)
        return pixels.mul_(1 - 2 * LOGIT_LAPLACE_EPS).add_(LOGIT_LAPLACE_EPS)

    def _draw(self, count: int, generator: Generator) -> list[Crop]:
        """Crops of ``count`` pictures: area uniform, ratio log-uniform among those that fit, place and flip."""
        area, ratio, left, top, flip = torch.rand(count, 5, generator=generator, dtype=torch.float64).unbind(1)
        area = self.smallest + (self.largest - self.smallest) * area
        narrowest, widest = area.clamp(min=NARROWEST).log(), area.reciprocal().clamp(max=WIDEST).log()
        ratio = (narrowest + (widest - narrowest) * ratio).exp()
        width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        left, top = left * (1 - width), top * (1 - height)
        edges = torch.stack([left, top, left + width, top + height]).clamp(max=1)
        return [Crop(*crop) for crop in zip(*edges.tolist(), (flip < self.flip).tolist(), strict=True)]


def _resample(
    images: list[Image.Image], crops: list[Crop], size: tuple[int, int], resampling: Image.Resampling
) -> Tensor:
    """The crops of B pictures as (B, 3, H, W) float32 from 0 to 1."""
    height, width = size
    pixels = np.empty((len(images), height, width, 3), dtype=np.uint8)
    for row, image, crop in zip(pixels, images, crops, strict=True):
        box = (crop.left * image.width, crop.top * image.height, crop.right * image.width, crop.bottom * image.height)
        view = np.asarray(image.resize((width, height), resampling, box))
        row[:] = view[:, ::-1] if crop.flip else view
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float().div_(255)
