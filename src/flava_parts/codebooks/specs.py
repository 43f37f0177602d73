"""The specs of codebooks: what turns patches of an image into the ids that masked image modelling predicts."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

from pydantic import PositiveInt, model_validator

from ..facts import Codes, Grid, pair
from ..fields import Pixels
from ..part import PartSpec, fault

if TYPE_CHECKING:
    from .codebook import Codebook
    from .dvae import DVAECodebook
    from .kmeans import KMeansCodebook

_Codebook = TypeVar("_Codebook", bound="Codebook")


class CodebookSpec(PartSpec):
    """A codebook: pixels (B, C, H, W) to codes (B, P) int64, without gradient and always in float32."""

    kind: ClassVar[str] = "codebook"
    image_size: Pixels
    channels: PositiveInt

    @property
    @abstractmethod
    def codes(self) -> Codes:
        """The codes of one image."""

    @property
    @abstractmethod
    def learns_from_images(self) -> bool:
        """Whether the codebook has to be fitted on images before it can give codes."""

    @property
    @abstractmethod
    def is_random(self) -> bool:
        """Whether it would give codes from weights that nothing has trained, without having been told to."""

    @abstractmethod
    def build(self) -> Codebook:
        """The module, on torch's current default device, its weights read from their file if there is one.

        On the meta device, where there is no memory for them, the file is not looked at. Raises InputError for a file
        that is missing, damaged, or of another codebook.
        """


class DVAESpec(CodebookSpec):
    """The encoder of DALL-E's discrete VAE (FLAVA section 3.2; Ramesh et al. 2021)."""

    type: Literal["flava.dvae"] = "flava.dvae"
    image_size: Pixels = 112
    """Side of the input in pixels, or [height, width]."""
    channels: PositiveInt = 3
    """Colour channels of the input (C)."""
    groups: PositiveInt = 4
    """Groups of blocks; each but the last halves the image, each but the first doubles the channels."""
    blocks: PositiveInt = 2
    """Residual blocks of each group."""
    width: PositiveInt = 256
    """Channels of the first group."""
    vocab_size: PositiveInt = 8192
    """Number of codes (V)."""
    freeze: bool = True
    """Whether its weights are no parameters. They never learn: no gradient passes through a choice of codes."""
    weights: str | None = None
    """A safetensors file; or `random`, said aloud; if not given, they come with a checkpoint of the whole model."""

    @model_validator(mode="after")
    def _groups_halve_the_image(self) -> DVAESpec:
        shrink = 2 ** (self.groups - 1)
        for side in pair(self.image_size):
            if side % shrink:
                raise fault(
                    "image_size", f"{self.groups} groups shrink the image {shrink} times, which does not divide {side}"
                )
        if self.width % 4:
            raise fault("width", f"{self.width} is not a multiple of 4, the narrowing inside a block")
        return self

    @property
    def codes(self) -> Codes:
        shrink = 2 ** (self.groups - 1)
        height, width = pair(self.image_size)
        return Codes(grid=Grid(height // shrink, width // shrink), vocab_size=self.vocab_size)

    @property
    def learns_from_images(self) -> bool:
        return False

    @property
    def is_random(self) -> bool:
        return self.weights is None

    def build(self) -> DVAECodebook:
        from .dvae import DVAECodebook

        codebook = DVAECodebook(**self.arguments())
        return codebook if self.weights == "random" else _with_weights(codebook, self.weights)


class KMeansSpec(CodebookSpec):
    """k-means over contrast-normalised patches, fitted on the run's own images (Coates and Ng 2012)."""

    type: Literal["flava.kmeans"] = "flava.kmeans"
    image_size: Pixels = 112
    """Side of the input in pixels, or [height, width]."""
    patch_size: Pixels = 8
    """Side of the patch that one code stands for, in pixels, or [height, width]; it divides the image."""
    channels: PositiveInt = 3
    """Colour channels of the input (C)."""
    vocab_size: PositiveInt = 1024
    """Number of codes (V)."""
    iterations: PositiveInt = 20
    """Lloyd iterations of the fit."""
    weights: str | None = None
    """A safetensors file of fitted centres; if not given, the run fits them on its own images."""

    @model_validator(mode="after")
    def _patches_tile_the_image(self) -> KMeansSpec:
        for side, patch in zip(pair(self.image_size), pair(self.patch_size), strict=True):
            if side % patch:
                raise fault("patch_size", f"patches of {patch} pixels do not tile a side of {side}")
        return self

    @property
    def codes(self) -> Codes:
        (height, width), (rows, columns) = pair(self.image_size), pair(self.patch_size)
        return Codes(grid=Grid(height // rows, width // columns), vocab_size=self.vocab_size)

    @property
    def learns_from_images(self) -> bool:
        return self.weights is None

    @property
    def is_random(self) -> bool:
        return False

    def build(self) -> KMeansCodebook:
        from .kmeans import KMeansCodebook

        codebook = KMeansCodebook(**self.arguments())
        return _with_weights(codebook, self.weights)


def _with_weights(codebook: _Codebook, path: str | None) -> _Codebook:
    is_meta = any(value.is_meta for value in codebook.state_dict().values())
    return codebook if path is None or is_meta else codebook.load_weights(path)
