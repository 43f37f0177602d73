"""The specs of sources: where samples come from."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import MinLen
from pydantic import Field, NonNegativeInt, model_validator

from ...facts import Modality
from ...part import PartSpec, fault

if TYPE_CHECKING:
    from .coco_captions import CocoCaptions
    from .emoji import Emoji
    from .glosses import Glosses
    from .hf_dataset import HFDataset
    from .image_folder import ImageFolder
    from .parquet import Parquet
    from .pictures import Pictures
    from .shards import Shards
    from .source import Source
    from .table import Table
    from .texts import Texts

Names = Annotated[tuple[str, ...], Field(strict=False)]
SomeNames = Annotated[tuple[str, ...], Field(strict=False), MinLen(1)]

COLUMN = re.compile(r"\{([^{}:]+)(?::0?(\d{1,2}))?\}")
"""A column in the pattern of a picture's name, and to how many digits it is filled up."""

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


class PicturesSpec(SourceSpec):
    """The pictures in a folder, without classes."""

    type: Literal["flava.pictures"] = "flava.pictures"
    folder: str
    """The folder, relative to where the command runs. JPEG, PNG and WebP are read, in deeper folders too."""

    @property
    def provides(self) -> frozenset[Modality]:
        return frozenset({"image"})

    def build(self) -> Pictures:
        from .pictures import Pictures

        return Pictures(**self.arguments())


class TextsSpec(SourceSpec):
    """The lines of text files, or a field of JSON lines."""

    type: Literal["flava.texts"] = "flava.texts"
    files: str
    """The files, such as `news/*.txt` or `part-{00..31}.jsonl`, relative to where the command runs."""
    fields: SomeNames = ("text",)
    """The fields of .jsonl files that hold a text; the first that has one gives it."""
    min_words: NonNegativeInt = 0
    """Texts of fewer words cannot be used."""

    @property
    def provides(self) -> frozenset[Modality]:
        return frozenset({"text"})

    def build(self) -> Texts:
        from .texts import Texts

        return Texts(**self.arguments())


class RowsSpec(SourceSpec):
    """A source whose samples are rows with cells."""

    captions: Names = ("caption",)
    """The columns of captions; the first that has one of enough words gives the row's. Lists count."""
    min_words: NonNegativeInt = 0
    """Captions of fewer words do not count, and rows without another are left out (the paper's YFCC: 3)."""
    where: dict[str, str] = {}
    """The values that columns must have, such as `{language: en}` or `{ok: "true"}`; other rows are left out."""

    @model_validator(mode="after")
    def _holds_something(self) -> RowsSpec:
        if not self.provides:
            raise fault("captions", "without captions and without pictures there is nothing to read")
        return self


class TableSpec(RowsSpec):
    """A table of captions (CSV, TSV or JSON lines) beside a folder of pictures."""

    type: Literal["flava.table"] = "flava.table"
    file: str
    """The .csv, .tsv or .jsonl file, relative to where the command runs. Rows of one picture are one sample."""
    folder: str
    """The folder that the pictures lie in, relative to where the command runs."""
    picture: str = "picture"
    """The column with a picture's name, or a pattern of columns: `{subreddit}/{image_id}.jpg`, `{image_id:012}.jpg`."""
    columns: Names = ()
    """The names of the columns, if the file's first line does not have them."""
    quoting: bool = True
    """Whether quotation marks enclose cells of .csv and .tsv files; false: they are characters like others."""

    @model_validator(mode="after")
    def _names_columns(self) -> TableSpec:
        if set("{}") & set(COLUMN.sub("", self.picture)):
            raise fault(
                "picture",
                "a column in a pattern is written {name}, or {name:03} to fill up with zeros to 3 digits, and braces "
                "are nothing else",
            )
        return self

    @property
    def provides(self) -> frozenset[Modality]:
        return _provided(image=True, text=bool(self.captions))

    def build(self) -> Table:
        from .table import Table

        return Table(**self.arguments())


class CocoCaptionsSpec(SourceSpec):
    """Pictures and captions in COCO's JSON format: images and annotations, several captions a picture."""

    type: Literal["flava.coco_captions"] = "flava.coco_captions"
    file: str
    """The JSON file, such as captions_train2017.json, relative to where the command runs."""
    folder: str
    """The folder that the pictures lie in, relative to where the command runs."""

    @property
    def provides(self) -> frozenset[Modality]:
        return frozenset({"image", "text"})

    def build(self) -> CocoCaptions:
        from .coco_captions import CocoCaptions

        return CocoCaptions(**self.arguments())


class ShardsSpec(SourceSpec):
    """Tar files in the WebDataset layout, each with an index: any sample is one reading."""

    type: Literal["flava.shards"] = "flava.shards"
    shards: str
    """The files, such as `cc3m/{00000..00331}.tar` or `s3://bucket/*.tar`, relative to where the command runs."""
    pictures: bool = True
    """Whether samples have a picture: a member .jpg, .jpeg, .png or .webp."""
    captions: Names = ("json.captions", "txt")
    """The members of captions, or `json.<field>`; the first that has one of enough words gives the sample's."""
    min_words: NonNegativeInt = 0
    """Captions of fewer words do not count, and samples without another cannot be used; `data pack` leaves them out."""
    where: dict[str, str] = {}
    """The values that fields of the member .json must have; other samples cannot be used, and `data pack` as above."""
    labels: Names = ()
    """The names of the classes that the numbers in a member .cls stand for; without them it is not read."""

    @property
    def provides(self) -> frozenset[Modality]:
        return _provided(image=self.pictures, text=bool(self.captions))

    @property
    def classes(self) -> tuple[str, ...]:
        return self.labels

    @model_validator(mode="after")
    def _holds_something(self) -> ShardsSpec:
        if not self.provides:
            raise fault("captions", "without captions and without pictures there is nothing to read")
        return self

    def build(self) -> Shards:
        from .shards import Shards

        return Shards(**self.arguments())


class ParquetSpec(RowsSpec):
    """Rows of Parquet files; needs the extra `parquet`."""

    type: Literal["flava.parquet"] = "flava.parquet"
    files: str
    """The files, such as `train-*.parquet`, relative to where the command runs."""
    picture: str | None = "image"
    """The column of pictures: the contents of files, alone or as `bytes`, or names in the folder; null without."""
    folder: str | None = None
    """The folder that the pictures lie in, where the column holds their names."""

    @property
    def provides(self) -> frozenset[Modality]:
        return _provided(image=self.picture is not None, text=bool(self.captions))

    def build(self) -> Parquet:
        from .parquet import Parquet

        return Parquet(**self.arguments())


class HFDatasetSpec(RowsSpec):
    """A data set that Hugging Face's datasets saved to disk; needs the extra `datasets`."""

    type: Literal["flava.hf_dataset"] = "flava.hf_dataset"
    folder: str
    """What `save_to_disk` wrote, relative to where the command runs; nothing is downloaded."""
    picture: str | None = "image"
    """The column of pictures; null without."""

    @property
    def provides(self) -> frozenset[Modality]:
        return _provided(image=self.picture is not None, text=bool(self.captions))

    def build(self) -> HFDataset:
        from .hf_dataset import HFDataset

        return HFDataset(**self.arguments())


def _provided(*, image: bool, text: bool) -> frozenset[Modality]:
    held: set[Modality] = set()
    if image:
        held.add("image")
    if text:
        held.add("text")
    return frozenset(held)
