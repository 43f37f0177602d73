"""The specs of maskers: which patches and words are hidden, and which pairs are mismatched."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ..errors import Problem
from ..facts import Grid, Vocab
from ..fields import Probability
from ..part import PartSpec, fault

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from ..wiring import Wiring
    from .bert_tokens import BertTokenMasker
    from .block import BlockMasker
    from .masked_text import MaskedText
    from .mismatch import MismatchedPairs, MismatchMasker
    from .random import RandomMasker
    from .whole_words import WholeWordMasker

    ImageMasker = Callable[[int, Generator], Tensor]
    TextMasker = Callable[[Tensor, Tensor, Generator], MaskedText]
    PairMasker = Callable[[int, Generator], MismatchedPairs]


class ImageMaskerSpec(PartSpec):
    """An image masker: a batch size and a generator to (B, P) bool, true where a patch is hidden."""

    kind: ClassVar[str] = "image_masker"
    total: int

    @abstractmethod
    def build(self, *, grid: Grid) -> ImageMasker:
        """The masker of a grid of patches."""

    def problems(self, wiring: Wiring) -> Iterable[Problem]:
        patches = wiring.image.grid
        if self.total > patches.size:
            yield Problem(
                ("total",), f"{self.total} patches cannot be hidden in a grid of {patches}, {patches.size} patches"
            )


class TextMaskerSpec(PartSpec):
    """A text masker: ids (B, L), which are special (B, L), and a generator to `MaskedText`."""

    kind: ClassVar[str] = "text_masker"

    @abstractmethod
    def build(self, *, vocab: Vocab) -> TextMasker:
        """The masker of a vocabulary."""


class PairMaskerSpec(PartSpec):
    """A pair masker: a batch size and a generator to `MismatchedPairs`, which row's text each image gets."""

    kind: ClassVar[str] = "pair_masker"

    @abstractmethod
    def build(self) -> PairMasker:
        """The masker."""


class BlockMaskerSpec(ImageMaskerSpec):
    """BEiT's blockwise masking (Bao et al. 2021, algorithm 1; FLAVA section 3.2)."""

    type: Literal["flava.block"] = "flava.block"
    total: PositiveInt = 75
    """Patches to hide in each image."""
    min_group: PositiveInt = 16
    """Fewest patches of one block."""
    max_group: PositiveInt | None = None
    """Most patches of one block; the total if not given."""
    min_aspect: PositiveFloat = 0.3
    """Smallest ratio of height to width of a block."""
    max_aspect: PositiveFloat | None = None
    """Largest ratio of height to width of a block; 1 / min_aspect if not given."""
    exact: bool = False
    """Whether exactly `total` are hidden; the published algorithm often stops a few short."""

    @model_validator(mode="after")
    def _ranges_are_ranges(self) -> BlockMaskerSpec:
        if self.max_group is not None and self.max_group < self.min_group:
            raise fault("max_group", f"{self.max_group} is below min_group, {self.min_group}")
        if self.max_aspect is not None and self.max_aspect < self.min_aspect:
            raise fault("max_aspect", f"{self.max_aspect} is below min_aspect, {self.min_aspect}")
        if self.max_aspect is None and self.min_aspect > 1:
            raise fault("min_aspect", f"{self.min_aspect} is above 1, so max_aspect has to be given")
        return self

    def problems(self, wiring: Wiring) -> Iterable[Problem]:
        yield from super().problems(wiring)
        grid = wiring.image.grid
        if not wiring.hides_patches:
            return
        if self.total <= grid.size and not self.hides_in(grid):
            yield Problem(
                ("min_group",),
                f"no block of {self.min_group} patches or more is smaller than a grid of {grid} both ways, so that "
                "nothing would be hidden; lower it, set exact: true, or use flava.random",
            )
        elif not self.exact and self.total < self.min_group:
            yield Problem(
                ("min_group",),
                f"{self.min_group} is above total, {self.total}, so that some images have nothing hidden",
                level="warning",
            )

    def hides_in(self, grid: Grid) -> bool:
        """Whether a grid has enough patches, and room for some block that may be drawn."""
        if self.exact or self.total > grid.size:
            return self.total <= grid.size
        most = min(self.total, self.max_group or self.total)
        smallest, largest = sorted((self.min_group, most))
        flattest, tallest = self.min_aspect, self.max_aspect or 1 / self.min_aspect

        def drawn(height: int, width: int) -> bool:
            # The sides that round to these are a rectangle in the plane of their logarithms, those that may be drawn a
            # tilted one; two rectangles meet if they do so along the sides of both.
            low_height, high_height, low_width, high_width = height - 0.5, height + 0.5, width - 0.5, width + 0.5
            return (
                low_height * low_width < largest
                and high_height * high_width > smallest
                and low_height / high_width < tallest
                and high_height / low_width > flattest
                and low_height < math.sqrt(largest * tallest)
                and high_height > math.sqrt(smallest * flattest)
                and low_width < math.sqrt(largest / flattest)
                and high_width > math.sqrt(smallest / tallest)
            )

        return any(
            height * width <= most and drawn(height, width)
            for height in range(1, grid.rows)
            for width in range(1, grid.columns)
        )

    def build(self, *, grid: Grid) -> BlockMasker:
        from .block import BlockMasker

        return BlockMasker(grid=grid, **self.arguments())


class RandomMaskerSpec(ImageMaskerSpec):
    """Patches hidden independently of each other, exactly `total` of them (as in MAE, He et al. 2021)."""

    type: Literal["flava.random"] = "flava.random"
    total: NonNegativeInt = 75
    """Patches to hide in each image."""

    def build(self, *, grid: Grid) -> RandomMasker:
        from .random import RandomMasker

        return RandomMasker(grid=grid, **self.arguments())


class TokenMaskingFields(TextMaskerSpec):
    """BERT's corruption of the chosen tokens (Devlin et al. 2019, section 3.1)."""

    probability: Probability = 0.15
    """Probability that a token (or word) is chosen."""
    mask_share: Probability = 0.8
    """Share of the chosen tokens that become the mask token."""
    random_share: Probability = 0.1
    """Share of the chosen tokens that become a random token; the rest stay as they are."""

    @model_validator(mode="after")
    def _shares_fit(self) -> TokenMaskingFields:
        if self.mask_share + self.random_share > 1:
            raise fault("random_share", f"{self.mask_share} masked and {self.random_share} random are more than all")
        return self


class BertTokenMaskerSpec(TokenMaskingFields):
    """Tokens chosen one by one: 15 %, of which 80 % masked, 10 % random, 10 % kept."""

    type: Literal["flava.bert_tokens"] = "flava.bert_tokens"

    def build(self, *, vocab: Vocab) -> BertTokenMasker:
        from .bert_tokens import BertTokenMasker

        return BertTokenMasker(vocab=vocab, **self.arguments())


class WholeWordMaskerSpec(TokenMaskingFields):
    """Whole words chosen: all pieces of a word or none; needs a vocabulary that marks pieces."""

    type: Literal["flava.whole_words"] = "flava.whole_words"

    def problems(self, wiring: Wiring) -> Iterable[Problem]:
        if not wiring.vocab.continuations:
            yield Problem((), "the vocabulary does not mark the pieces of words; use flava.bert_tokens")

    def build(self, *, vocab: Vocab) -> WholeWordMasker:
        from .whole_words import WholeWordMasker

        return WholeWordMasker(vocab=vocab, **self.arguments())


class MismatchMaskerSpec(PairMaskerSpec):
    """Some images get the text of another row of the batch (FLAVA section 3.2, image-text matching)."""

    type: Literal["flava.mismatch"] = "flava.mismatch"
    probability: Probability = 0.1
    """Probability that an image gets another row's text."""

    def build(self) -> MismatchMasker:
        from .mismatch import MismatchMasker

        return MismatchMasker(**self.arguments())
