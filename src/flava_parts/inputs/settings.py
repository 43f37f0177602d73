"""The settings of a processor, under the names that FLAVA's users know, with the defaults of transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, cast

from annotated_types import Ge, Le, MinLen
from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ..errors import InputError
from ..messages import show
from ..part import Spec, fault
from ..registry import nearest

MAX_PIXELS = 64_000_000
"""Larger pictures are neither read nor made."""

RESAMPLING = {"nearest": 0, "nearest-exact": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
"""Pillow's numbers of its filters, by the names that torchvision gives them."""


def _value(entry: Any) -> Any:
    """The plain value of a member of one of transformers' or torchvision's enumerations."""
    return getattr(entry, "value", entry)


Side = Annotated[int, Ge(1), Le(65_535)]
"""Pixels of a side: up to what a JPEG file can hold."""


class TargetSize(Spec):
    """The size that a picture is resized to, pixels: one of three ways to say it.

    ``height`` and ``width``: that rectangle, whatever the picture's ratio of sides. ``shortest_edge``: the ratio is
    kept and the shorter side is that, unless the longer one would exceed ``longest_edge``. ``max_height`` and
    ``max_width``: the ratio is kept and the picture is as large as fits into that rectangle.
    """

    height: Side | None = None
    width: Side | None = None
    shortest_edge: Side | None = None
    longest_edge: Side | None = None
    max_height: Side | None = None
    max_width: Side | None = None

    @model_validator(mode="after")
    def _is_one_of_three(self) -> TargetSize:
        if self.entries().keys() not in (
            {"height", "width"},
            {"shortest_edge"},
            {"shortest_edge", "longest_edge"},
            {"max_height", "max_width"},
        ):
            raise fault("", "give height and width, shortest_edge (and longest_edge), or max_height and max_width")
        return self

    @property
    def rectangle(self) -> tuple[int, int] | None:
        """(height, width) if pictures of all sizes get the same."""
        return None if self.height is None or self.width is None else (self.height, self.width)

    def entries(self) -> dict[str, int]:
        """What is given, as configuration files hold it."""
        return self.model_dump(exclude_none=True)

    def fitted(self, height: float, width: float) -> tuple[int, int]:
        """(height, width) that a picture of that height and width is resized to."""
        if self.rectangle is not None:
            return self.rectangle
        if self.max_height is not None and self.max_width is not None:
            scale = min(self.max_height / height, self.max_width / width)
            return int(height * scale), int(width * scale)
        assert self.shortest_edge is not None
        short, long = min(height, width), max(height, width)
        side, exact = self.shortest_edge, float(self.shortest_edge)
        if self.longest_edge is not None and long / short * side > self.longest_edge:
            exact = self.longest_edge * short / long
            side = round(exact)
        other = int(long) if short == side else int(exact * long / short)
        return (side, other) if height <= width else (other, side)


def target(value: Any, *, square: bool = True) -> Any:
    """A side, a pair (height, width) or a mapping as `TargetSize`; a side is that of a square, or the shortest one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return {"height": value, "width": value} if square else {"shortest_edge": value}
    if isinstance(value, (list, tuple)) and len(cast(Sequence[Any], value)) == 2:
        return dict(zip(("height", "width"), cast(Sequence[Any], value), strict=True))
    if isinstance(value, (TargetSize, Mapping)):
        return value
    raise PydanticCustomError("size", "Input should be a side, (height, width), or a block as TargetSize has it")


def _filter(value: Any) -> Any:
    value = _value(value)
    return RESAMPLING.get(value, value) if isinstance(value, str) else value


Target = Annotated[TargetSize, BeforeValidator(target)]
Filter = Annotated[int, Ge(0), Le(5), BeforeValidator(_filter)]
"""A Pillow filter by number (0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic, 4 box, 5 Hamming) or by name."""
Number = Annotated[float, Ge(-1e6), Le(1e6)]
Deviation = Annotated[float, Ge(1e-6), Le(1e6)]
"""Numbers that stay numbers in float32."""
PerChannel = Number | Annotated[tuple[Number, ...], Field(strict=False), MinLen(1)]
"""One number for each channel, or one for all."""
PositivePerChannel = Deviation | Annotated[tuple[Deviation, ...], Field(strict=False), MinLen(1)]
Patches = Annotated[int, Ge(1), Le(256)]
Backend = Literal["pil", "torchvision"]
"""Who resizes: Pillow, or torchvision. Most of their pixels are equal or one grey level of 255 apart, few are more."""
PatchGrid = Patches | Annotated[tuple[Patches, Patches], Field(strict=False)]
"""Patches of a side, or (rows, columns)."""


class ViewSettings(Spec):
    """How one picture becomes one view, step by step: resize, crop, rescale, normalise, map."""

    backend: Backend
    do_resize: bool
    size: TargetSize
    resample: Filter
    do_center_crop: bool
    crop_size: TargetSize | None
    do_rescale: bool
    rescale_factor: Number
    do_normalize: bool
    image_mean: PerChannel
    image_std: PositivePerChannel
    do_map_pixels: bool

    @property
    def crop(self) -> tuple[int, int] | None:
        """(height, width) of the part that is cut out of the middle, if one is."""
        return (self.crop_size or self.size).rectangle if self.do_center_crop else None

    @property
    def shape(self) -> tuple[int, int] | None:
        """(height, width) of the view if pictures of all sizes get the same."""
        return self.crop or (self.size.rectangle if self.do_resize else None)


class ImageProcessorSettings(Spec):
    """How pictures become tensors: FlavaImageProcessor's parameters, names and defaults, and two of our own."""

    backend: Backend = "pil"
    """Who resizes: Pillow, as FlavaImageProcessorPil, or torchvision, as FlavaImageProcessor. Ours."""
    do_resize: bool = True
    """Whether the picture is resized to ``size``."""
    size: Target = TargetSize(height=224, width=224)
    """Size after resizing, pixels: a side, (height, width), or a mapping as `TargetSize` has it."""
    default_to_square: bool = True
    """Whether a ``size`` that is one number is the side of a square; otherwise it is the shortest side."""
    resample: Filter = 3
    """The filter that resizes."""
    do_center_crop: bool = True
    """Whether the middle is cut out; smaller pictures get a black margin."""
    crop_size: Target | None = TargetSize(height=224, width=224)
    """Size of that middle, pixels; as ``size`` if None."""
    do_rescale: bool = True
    """Whether values are multiplied by ``rescale_factor``. Without it, values keep the scale that they came in."""
    rescale_factor: Number = 1 / 255
    do_normalize: bool = True
    """Whether ``image_mean`` is subtracted and the result divided by ``image_std``."""
    image_mean: PerChannel = (0.48145466, 0.4578275, 0.40821073)
    """Of each channel, or of all (CLIP's)."""
    image_std: PositivePerChannel = (0.26862954, 0.26130258, 0.27577711)
    """Of each channel, or of all (CLIP's)."""
    do_convert_rgb: bool = True
    """Whether all pictures become RGB, transparent ones over a background; otherwise they keep their channels."""
    return_image_mask: bool = False
    """Whether ``bool_masked_pos`` is drawn."""
    input_size_patches: PatchGrid = 14
    """Patches of a picture: of each side, or (rows, columns)."""
    total_mask_patches: PositiveInt = 75
    """Patches to hide in each picture."""
    mask_group_min_patches: PositiveInt = 16
    """Fewest patches of one block."""
    mask_group_max_patches: PositiveInt | None = None
    """Most patches of one block; the total if None."""
    mask_group_min_aspect_ratio: PositiveFloat = 0.3
    """Smallest ratio of height to width of a block."""
    mask_group_max_aspect_ratio: PositiveFloat | None = None
    """Largest ratio of height to width of a block; 1 / the smallest if None."""
    exact_mask_patches: bool = False
    """Whether exactly ``total_mask_patches`` are hidden; the published algorithm often stops a few short. Ours."""
    return_codebook_pixels: bool = False
    """Whether the codebook's view is given too."""
    codebook_do_resize: bool = True
    """This and what follows: as without ``codebook_``, for the codebook's view."""
    codebook_size: Target | None = TargetSize(height=112, width=112)
    """None for a model without a codebook."""
    codebook_resample: Filter = 1
    codebook_do_center_crop: bool = True
    codebook_crop_size: Target | None = TargetSize(height=112, width=112)
    codebook_do_rescale: bool = True
    codebook_rescale_factor: Number = 1 / 255
    codebook_do_map_pixels: bool = True
    """Whether values x become 0.8 x + 0.1, as the codebook was trained on; after normalising, as published."""
    codebook_do_normalize: bool = True
    codebook_image_mean: PerChannel = (0.0, 0.0, 0.0)
    codebook_image_std: PositivePerChannel = (1.0, 1.0, 1.0)
    data_format: Literal["channels_first", "channels_last"] = "channels_first"
    """Whether views are (C, H, W) or (H, W, C)."""
    input_data_format: Literal["channels_first", "channels_last", "none"] | None = None
    """Where arrays and tensors have their channels, "none" for (H, W); told from the shape if None."""
    disable_grouping: bool | None = None
    """Without effect: pictures are resized one by one. For callers of the torchvision back end."""

    @model_validator(mode="before")
    @classmethod
    def _sides_are_sizes(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        given = cast(dict[str, Any], data)
        square = given.get("default_to_square") is not False
        plain = [name for name in ("size", "codebook_size") if type(given.get(name)) is int]
        return {**given, **{name: target(given[name], square=square) for name in plain}}

    @field_validator("data_format", "input_data_format", mode="before")
    @classmethod
    def _is_a_name(cls, value: Any) -> Any:
        return _value(value)

    @model_validator(mode="after")
    def _crops_are_rectangles(self) -> ImageProcessorSettings:
        for prefix, view in (("", self.view), ("codebook_", self.codebook_view)):
            name = f"{prefix}crop_size"
            if view is not None and view.do_center_crop and view.crop is None:
                raise fault(name, f"a crop has a height and a width; give {name}, or {prefix}do_center_crop=False")
            if view is not None and view.crop is not None and view.crop[0] * view.crop[1] > MAX_PIXELS:
                raise fault(name, f"more than {MAX_PIXELS // 1_000_000} megapixels; give less")
        if self.mask_group_max_patches is not None and self.mask_group_max_patches < self.mask_group_min_patches:
            raise fault("mask_group_max_patches", f"is below mask_group_min_patches, {self.mask_group_min_patches}")
        least, most = self.mask_group_min_aspect_ratio, self.mask_group_max_aspect_ratio
        if (1 / least if most is None else most) < least:
            raise fault("mask_group_max_aspect_ratio", f"is below mask_group_min_aspect_ratio, {least}")
        return self

    @property
    def view(self) -> ViewSettings:
        """The image encoder's view."""
        return self._view("", do_map_pixels=False)

    @property
    def codebook_view(self) -> ViewSettings | None:
        """The codebook's view."""
        return None if self.codebook_size is None else self._view("codebook_")

    def _view(self, prefix: str, **own: Any) -> ViewSettings:
        names = ViewSettings.model_fields.keys() - own.keys() - {"backend"}
        values = {name: getattr(self, prefix + name) for name in names}
        return ViewSettings.model_construct(**own, **values, backend=self.backend)


class TextSettings(Spec):
    """How texts become ids: the parameters of FlavaProcessor's tokenizer, but cut and padded unless told otherwise."""

    padding: bool | Literal["longest", "max_length", "do_not_pad"] = True
    """True or "longest": to the longest text of the batch; "max_length": to the longest allowed; False: not at all."""
    truncation: bool | Literal["longest_first", "only_first", "do_not_truncate"] = True
    """Whether texts are cut to ``max_length``. There are no pairs of texts, so that the strategies are one."""
    max_length: PositiveInt | None = None
    """The longest text in tokens, summary and separator included; the tokenizer's own length if None."""
    stride: NonNegativeInt = 0
    """Tokens that each part of a cut text repeats of the part before."""
    pad_to_multiple_of: PositiveInt | None = None
    """Lengths are padded to a multiple of it."""
    padding_side: Literal["left", "right"] | None = None
    """Where padding goes; the tokenizer's own side if None."""
    add_special_tokens: bool = True
    """Whether the summary goes before and the separator behind each text."""
    return_token_type_ids: bool = True
    """Whether ``token_type_ids``, which segment each token is of, is given."""
    return_attention_mask: bool = True
    """Whether ``attention_mask``, 1 for tokens and 0 for padding, is given."""
    return_overflowing_tokens: bool = False
    """Whether what is cut off comes as rows of its own, ``overflow_to_sample_mapping`` saying whose."""
    return_special_tokens_mask: bool = False
    """Whether ``special_tokens_mask``, 1 for tokens that are not the text's own, is given."""
    return_offsets_mapping: bool = False
    """Whether ``offset_mapping`` gives the (start, end) of each token, characters of the text."""
    return_length: bool = False
    """Whether ``length``, the tokens of each row with its padding, is given."""
    verbose: bool = True
    """Without effect: what transformers warns of is an error here, or nothing."""

    @field_validator("padding", "truncation", mode="before")
    @classmethod
    def _is_a_strategy(cls, value: Any) -> Any:
        return _value(value)

    @property
    def pads(self) -> bool:
        return self.padding not in (False, "do_not_pad")

    @property
    def cuts(self) -> bool:
        return self.truncation not in (False, "do_not_truncate")


Token = Annotated[str, MinLen(1)]


class TokenizerSettings(Spec):
    """What a BERT tokenizer is besides its tokens: BertTokenizer's parameters, names and defaults."""

    do_lower_case: bool = True
    """Whether texts are lower-cased."""
    strip_accents: bool | None = None
    """Whether accents are dropped; as ``do_lower_case`` if None."""
    tokenize_chinese_chars: bool = True
    """Whether each Chinese character is a word."""
    model_max_length: PositiveInt = 512
    """The longest text in tokens, summary and separator included."""
    padding_side: Literal["left", "right"] = "right"
    """Where padding goes."""
    truncation_side: Literal["left", "right"] = "right"
    """Where long texts are cut."""
    pad_token: Token = "[PAD]"
    unk_token: Token = "[UNK]"
    cls_token: Token = "[CLS]"
    sep_token: Token = "[SEP]"
    mask_token: Token = "[MASK]"
    """The special tokens, each one of the vocabulary."""
    clean_up_tokenization_spaces: bool = False
    """Whether decoded texts lose the spaces before punctuation and contractions."""

    @property
    def special(self) -> tuple[str, ...]:
        """The special tokens: padding, unknown, summary, separator, mask."""
        return (self.pad_token, self.unk_token, self.cls_token, self.sep_token, self.mask_token)


Settings = TypeVar("Settings", bound=Spec)


def changed(settings: Settings, changes: Mapping[str, Any], *, where: str = "") -> Settings:
    """The settings with some fields changed; what is None stays as it is.

    ``where`` goes before the message. Raises `InputError` for an unknown field, and for a value that is not one of it.
    """
    fields = type(settings).model_fields
    if unknown := [name for name in changes if name not in fields]:
        raise InputError("; ".join(f"{where}no setting {name!r}{meant(name, tuple(fields))}" for name in unknown))
    given = {name: value for name, value in changes.items() if value is not None}
    if not given:
        return settings
    kept = {name: getattr(settings, name) for name in fields}
    try:
        return type(settings).model_validate({**kept, **given})
    except ValidationError as error:
        raise InputError(where + _reason(error)) from error


def meant(name: str, known: tuple[str, ...]) -> str:
    """``; did you mean …?`` if one of the known names is like it."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else ""


def _reason(error: ValidationError) -> str:
    """The first of pydantic's errors in one line."""
    errors = error.errors(include_url=False)
    name = str(errors[0]["loc"][0]) if errors[0]["loc"] else ""
    # One field may be of several types, and each that the value is not tells why: the one that came furthest counts.
    of_field = [each for each in errors if each["loc"][:1] == errors[0]["loc"][:1]]
    deepest = max(len(each["loc"]) for each in of_field)
    found = [each for each in of_field if len(each["loc"]) == deepest]
    if found[0]["type"] == "fault":
        context = found[0].get("ctx", {})
        return ": ".join(filter(None, [name or context["field"], context["message"]]))
    wants = dict.fromkeys(each["msg"].removeprefix("Input should be ") for each in found)
    return f"{name}: should be {' or '.join(wants)}, not {show(found[0]['input'])}"
