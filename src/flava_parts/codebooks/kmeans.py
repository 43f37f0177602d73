"""The k-means codebook: the nearest of V typical patches, found in the run's own images (Coates and Ng 2012)."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from ..errors import InputError
from ..facts import Size, pair
from .codebook import Codebook

FLAT = 0.1
"""Contrast, as a standard deviation of pixels in [0, 1], at which a patch counts half by its texture."""

COLOUR = 2.0
"""Weight of the mean colour: white and black are then as far apart as two patches of opposite texture, and more."""

PATCHES_PER_CODE = 40
"""Patches that are looked at in a fit, for each code; more change the centres little (39 is faiss's lower bound)."""

SEEDINGS = 16
"""Rounds in which the first centres are chosen; each sees how far patches are from the centres of the rounds before."""

CHUNK = 8192
"""Patches compared with all centres at once, which bounds the memory."""


class KMeansCodebook(Codebook):
    """Codes of pixels (B, C, H, W), in [0, 1] or a part of it: for each patch the nearest of V centres.

    A patch is described by its *texture*, what is left of it after the mean of each channel, divided by its contrast,
    and by its *mean colour*. Division by contrast makes an edge the same edge in dim and in bright light; the colour
    tells flat patches apart, whose texture is nothing. `fit` finds the centres, in at most `iterations` rounds.
    """

    remedy = (
        "the k-means codebook has not been fitted; call fit(images, generator), load a checkpoint that holds its "
        "centres, or name a safetensors file of centres as weights"
    )
    centres: Tensor

    def __init__(
        self,
        *,
        image_size: Size = 112,
        patch_size: Size = 8,
        channels: int = 3,
        vocab_size: int = 1024,
        iterations: int = 20,
        weights: str | None = None,
    ) -> None:
        super().__init__(image_size=image_size, channels=channels, weights=weights)
        self.patch_size = pair(patch_size)
        self.iterations = iterations
        height, width = self.patch_size
        self.register_buffer("centres", torch.zeros(vocab_size, channels * (height * width + 1), dtype=torch.float32))

    def assign(self, pixels: Tensor) -> Tensor:
        features = _features(self._patches(pixels))
        return _nearest(features.flatten(0, 2), self.centres)[0].view(features.shape[:3]).flatten(1)

    @torch.no_grad()
    def fit(self, images: Tensor, generator: torch.Generator) -> Self:
        """Find the centres in ``images`` (N, C, H, W), on the CPU; the same images and generator give the same centres.

        k-means with seeds chosen in proportion to their squared distance from earlier ones (k-means++, many at a time
        as in k-means||, Bahmani et al. 2012). A centre without patches starts again at a patch chosen likewise. With
        fewer different patches than codes, some codes are never given.

        Raises InputError if there are no images, they are not of the codebook's size, or hold NaN or infinity.
        """
        self._check_size(images)
        if not len(images) or not images.isfinite().all():
            raise InputError("the k-means codebook is fitted on at least one image, without NaN or infinity")
        features = _features(self._sample(images.detach().to("cpu"), generator).float())
        centres = _seeds(features, len(self.centres), generator)
        before = None
        for _ in range(self.iterations):
            code, distance = _nearest(features, centres)
            if before is not None and torch.equal(code, before):
                break
            before = code
            count = code.bincount(minlength=len(centres))
            centres = torch.zeros_like(centres).index_add_(0, code, features) / count.clamp(min=1)[:, None]
            empty = count == 0
            centres[empty] = _draw(features, distance, int(empty.sum()), generator)
        self.centres.copy_(centres)
        self.ready = True
        return self

    def _patches(self, pixels: Tensor) -> Tensor:
        """Cut pixels (B, C, H, W) into patches (B, rows, columns, C, h, w), without a copy."""
        height, width = self.patch_size
        return pixels.unfold(2, height, height).unfold(3, width, width).permute(0, 2, 3, 1, 4, 5)

    def _sample(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Patches (n, C, h, w) drawn from ``images`` (N, C, H, W) without repetition; all, if they are not too many."""
        patches = self._patches(images)
        _, rows, columns, *_ = patches.shape
        index = torch.randperm(len(images) * rows * columns, generator=generator, device="cpu")
        index = index[: PATCHES_PER_CODE * len(self.centres)]
        return patches[index // (rows * columns), index // columns % rows, index % columns]


def _features(patches: Tensor) -> Tensor:
    """Texture and mean colour (..., C*h*w + C) of patches (..., C, h, w); the texture has length 0 (flat) to 1."""
    colour = patches.mean((-1, -2))
    texture = (patches - colour[..., None, None]).flatten(-3)
    contrast = texture.square().mean(-1, keepdim=True).sqrt()
    texture = texture / ((contrast + FLAT) * texture.shape[-1] ** 0.5)
    return torch.cat([texture, COLOUR * colour], dim=-1)


def _nearest(features: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest of centres (V, F) to each of features (n, F), and the squared distance to it: (n,) int64, (n,)."""
    half = centres.square().sum(1) / 2
    codes: list[Tensor] = []
    distances: list[Tensor] = []
    for part in torch.split(features, CHUNK):
        likeness, code = (part @ centres.T - half).max(dim=1)
        codes.append(code)
        distances.append((part.square().sum(1) - 2 * likeness).clamp(min=0))
    return torch.cat(codes), torch.cat(distances)


def _draw(features: Tensor, distance: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``count`` of features (n, F), each with a probability in proportion to its squared ``distance`` (n,)."""
    if not count:
        return features[:0]
    weight = distance + torch.finfo(distance.dtype).tiny  # where every distance is 0, any will do
    return features[weight.multinomial(count, replacement=True, generator=generator)]


def _seeds(features: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """The first ``count`` centres (V, F): features (n, F), far from each other rather than many alike."""
    distance = torch.full((len(features),), torch.inf)
    centres = _draw(features, torch.ones_like(distance), 1, generator)
    latest = centres
    while len(centres) < count:
        distance = torch.minimum(distance, _nearest(features, latest)[1])
        latest = _draw(features, distance, min(-(-count // SEEDINGS), count - len(centres)), generator)
        centres = torch.cat([centres, latest])
    return centres
