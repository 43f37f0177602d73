"""The specs of sources: where samples come from."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import NonNegativeInt

from ...facts import Modality
from ...part import PartSpec

if TYPE_CHECKING:
    from .emoji import Emoji
    from .glosses import Glosses
    from .image_folder import ImageFolder
    from .source import Source

EMOJI_GROUPS = (
    "activities",
    "animals & nature",
    "food & drink",
    "objects",
    "smileys & emotion",
    "travel & places",
)
"""Unicode's groups, as far as the emoji that come with the package have them."""


class SourceSpec(PartSpec):
    """A source: a numbered set of samples, each a picture, a text, or both."""

    kind: ClassVar[str] = "source"

    @property
    @abstractmethod
    def provides(self) -> frozenset[Modality]:
        """What each sample holds."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that samples are labelled with; none if they are not labelled."""
        return ()

    @abstractmethod
    def build(self) -> Source:
        """The source, opened."""


class EmojiSpec(SourceSpec):
    """The emoji that come with the package: 1,026 concepts in the drawings of two vendors, with captions and tags."""

    type: Literal["flava.emoji"] = "flava.emoji"
    split: Literal["train", "held_out"] = "train"
    """train: 1,847 drawings; held_out: the 205 Twemoji drawings whose Noto twins are in train."""
    tags: NonNegativeInt = 3
    """Up to this many tags are drawn at random and put behind the caption in training."""

    @property
    def provides(self) -> frozenset[Modality]:
        return frozenset({"image", "text"})

    @property
    def classes(self) -> tuple[str, ...]:
        return EMOJI_GROUPS

    def build(self) -> Emoji:
        from .emoji import Emoji

        return Emoji(**self.arguments())


class GlossesSpec(SourceSpec):
    """The 20,000 dictionary definitions of WordNet that come with the package."""

    type: Literal["flava.glosses"] = "flava.glosses"

    @property
    def provides(self) -> frozenset[Modality]:
        return frozenset({"text"})

    def build(self) -> Glosses:
        from .glosses import Glosses

        return Glosses(**self.arguments())


class ImageFolderSpec(SourceSpec):
    """Pictures in a folder, each in a sub-folder that is named after its class."""

    type: Literal["flava.image_folder"] = "flava.image_folder"
    folder: str
    """The folder, relative to where the command runs. JPEG, PNG and WebP are read, in deeper folders too."""

    @property
    def provides(self) -> frozenset[Modality]:
        return frozenset({"image"})

    @property
    def classes(self) -> tuple[str, ...]:
        """The sub-folders in alphabetical order. Raises InputError if there are none."""
        from .class_folders import class_folders

        return tuple(path.name for path in class_folders(self.folder))

    def build(self) -> ImageFolder:
        from .image_folder import ImageFolder

        return ImageFolder(**self.arguments())
