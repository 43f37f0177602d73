"""Pictures and texts to everything a model takes, under the names that FLAVA's users know from transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Generator, Tensor

from ..errors import InputError, Problem
from ..maskers.block import BlockMasker
from .pictures import Picture, flat
from .settings import ImageProcessorSettings, TextSettings, changed, meant
from .views import BLOCK_ARGUMENTS, Views, disagreements, mask_grid
from .wordpiece import WordPiece, token_tensor

if TYPE_CHECKING:
    from ..data.specs import DataSpec
    from ..maskers.specs import ImageMasker, TextMasker
    from ..spec import FlavaSpec

OWN = (
    "images",
    "text",
    "return_tensors",
    "return_masked_text",
    "augment",
    "generator",
    "device",
    "images_kwargs",
    "text_kwargs",
)
"""The arguments of a call that are no settings."""

MASK_FIELDS = ("input_size_patches", *BLOCK_ARGUMENTS)
"""The settings that say how masks are drawn."""

ELSEWHERE = {
    "text_pair": "FLAVA reads one text a row; join the two",
    "is_split_into_words": "give whole texts",
    "do_pad": "do_center_crop puts a margin around pictures that are too small",
    "videos": "FLAVA reads images and text",
    "audio": "FLAVA reads images and text",
}
"""What transformers' processors of other models take, and what to do here."""


class Processor:
    """Pictures and texts to tensors.

    tokenizer: texts to ids.
    views: pictures to both views; their settings also say which blocks of patches masks hide.
    image_masker: draws the masks instead, if given.
    text_masker: which words are hidden.
    """

    def __init__(
        self,
        *,
        tokenizer: WordPiece,
        views: Views,
        image_masker: ImageMasker | None = None,
        text_masker: TextMasker | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.views = views
        self.image_masker = image_masker
        self.text_masker = text_masker

    @classmethod
    def of(cls, model: FlavaSpec, data: DataSpec) -> Processor:
        """The processor of a model's data: sizes, grid and vocabulary come from the parts they belong to."""
        return cls(
            tokenizer=data.tokenizer.build(),
            views=Views.of(model, data.views),
            image_masker=other_masker(model),
            text_masker=model.text_masker and model.text_masker.build(vocab=data.tokenizer.vocab()),
        )

    @property
    def settings(self) -> ImageProcessorSettings:
        """How pictures become tensors."""
        return self.views.settings

    def __call__(
        self,
        images: Picture | Sequence[Any] | None = None,
        text: str | Sequence[str] | None = None,
        *,
        return_tensors: Literal["pt", "np"] | None = "pt",
        return_masked_text: bool = False,
        augment: bool = False,
        generator: Generator | None = None,
        device: torch.device | str | None = None,
        images_kwargs: Mapping[str, Any] | None = None,
        text_kwargs: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        """The model's inputs from pictures (B of them, or one), from texts (B of them, or one), or from both.

        images: paths, file contents, Pillow images, arrays or tensors, as `rgb` takes them, and lists of them.
            pixel_values (B, 3, H, W); with ``return_codebook_pixels`` codebook_pixel_values (B, 3, h, w);
            with ``return_image_mask`` bool_masked_pos (B, P) bool. ``augment``: random crop and flip, both views alike.
        text: longer ones are cut to ``max_length`` tokens, the tokenizer's length if not given.
            input_ids, attention_mask and token_type_ids (B, L) int64; with ``return_masked_text`` input_ids_masked
            and mlm_labels (B, L) int64; with ``return_special_tokens_mask`` special_tokens_mask (B, L) int64, which
            a model's `mask` reads but its `forward` does not.
        generator: what is random is drawn from it, from torch's default generator if not given.
        return_tensors: "pt", tensors, on ``device`` if given; "np", arrays; None, lists with a row for each picture and
            text, which may then differ in size (and no list around the row of a single ``text``).
        changes: any field of `ImageProcessorSettings` and of `TextSettings`, for this call; None leaves it as it is.
            ``images_kwargs`` and ``text_kwargs`` hold the same, as transformers takes them.

        Pictures and texts need not be equally many: N pictures are scored against M texts by their embeddings. A model
        that fuses pairs asks for equal numbers. Raises `InputError` for what cannot be read and for unknown arguments.
        """
        kind = getattr(return_tensors, "value", return_tensors)
        if kind not in ("pt", "np", None):
            raise InputError(f"return_tensors is 'pt', 'np' or None, not {kind!r}")
        if device is not None and kind != "pt":
            raise InputError("only tensors have a device; give return_tensors='pt', or no device")
        picture_changes, text_changes = _sorted(changes, images_kwargs or {}, text_kwargs or {})
        views = replace(self.views, settings=changed(self.settings, picture_changes))
        wanted = changed(TextSettings(), text_changes)
        if views.settings.return_codebook_pixels and (views.settings.codebook_size is None or images is None):
            raise InputError("return_codebook_pixels needs images and a model with a codebook")
        if views.settings.return_image_mask and images is None:
            raise InputError("return_image_mask needs images")
        if return_masked_text and (self.text_masker is None or text is None):
            raise InputError("return_masked_text needs text and a model with a text_masker")
        generator = torch.default_generator if generator is None else generator
        batch: dict[str, Any] = {}
        if text is not None:
            batch.update(self._words(text, wanted, kind, generator if return_masked_text else None))
        if images is not None:
            mask = self._masker(views.settings, picture_changes) if views.settings.return_image_mask else None
            batch.update(_seen(flat(images), views, kind, augment, generator, mask))
        if device is not None:
            batch = {name: tensor.to(device) for name, tensor in batch.items()}
        return batch

    def decode(self, token_ids: int | Sequence[Any] | Tensor, skip_special_tokens: bool = False) -> Any:
        """The text of a row of ids (L,), or the texts of rows (B, L)."""
        rows: Any = token_ids.tolist() if isinstance(token_ids, (Tensor, np.ndarray)) else token_ids
        if isinstance(rows, (list, tuple)) and rows and not isinstance(rows[0], int):
            return self.batch_decode(rows, skip_special_tokens)  # pyright: ignore[reportUnknownArgumentType]
        return self.tokenizer.decode(rows, skip_special_tokens=skip_special_tokens)

    def batch_decode(self, sequences: Sequence[Any] | Tensor, skip_special_tokens: bool = False) -> list[str]:
        """The texts of rows of ids, each an (L,) sequence of its own length."""
        return [self.decode(row, skip_special_tokens) for row in sequences]

    def disagreements(self, model: FlavaSpec) -> Iterator[Problem]:
        """Where this processor does not fit a model: sizes of views, grid of masks, length and number of words."""
        yield from disagreements(self.settings, model)
        text = model.text_encoder.tokens
        if self.tokenizer.length > text.length:
            yield Problem(
                ("model_max_length",),
                f"texts of {self.tokenizer.length} tokens do not fit an encoder of {text.length}",
                see=("text_encoder", "length"),
            )
        if self.tokenizer.vocab.size > text.vocab_size:
            yield Problem(
                ("vocab",),
                f"{self.tokenizer.vocab.size} tokens, but the text encoder knows {text.vocab_size}",
                see=("text_encoder", "vocab_size"),
            )

    def _words(
        self, text: str | Sequence[str], wanted: TextSettings, kind: str | None, generator: Generator | None
    ) -> dict[str, Any]:
        """The fields of texts; masked ones too if there is a generator."""
        rows = self.tokenizer.encode([text] if isinstance(text, str) else text, wanted)
        made: dict[str, Any] = {}
        for name, row in rows.items():
            plain = name in ("length", "overflow_to_sample_mapping")
            made[name] = row if kind is None else torch.tensor(row) if plain else token_tensor(row)
        if generator is not None:
            assert self.text_masker is not None
            special = token_tensor(rows["special_tokens_mask"]).bool()
            masked = self.text_masker(token_tensor(rows["input_ids"]), special, generator)
            labels = {"input_ids_masked": masked.ids, "mlm_labels": masked.labels}
            made.update({name: tensor.tolist() for name, tensor in labels.items()} if kind is None else labels)
        for name in ("token_type_ids", "attention_mask", "special_tokens_mask"):
            if not getattr(wanted, f"return_{name}"):
                del made[name]
        if kind == "np":
            return {name: tensor.numpy() for name, tensor in made.items()}
        if kind is None and isinstance(text, str) and not wanted.return_overflowing_tokens:
            return {name: row[0] if isinstance(row[0], list) else row for name, row in made.items()}
        return made

    def _masker(self, settings: ImageProcessorSettings, changes: Mapping[str, Any]) -> ImageMasker:
        """Who draws the masks of a call."""
        if self.image_masker is None:
            return block_masker(settings)
        if blocks := [name for name in MASK_FIELDS if changes.get(name) is not None]:
            kind = type(self.image_masker).__name__
            raise InputError(f"{', '.join(blocks)}: for masks of blocks, but the model has a {kind}; leave them out")
        return self.image_masker


def other_masker(model: FlavaSpec) -> ImageMasker | None:
    """The image masker of a model that settings cannot describe; None if they can."""
    from ..maskers.specs import BlockMaskerSpec

    if model.image_masker is None or isinstance(model.image_masker, BlockMaskerSpec):
        return None
    return model.image_masker.build(grid=model.image_encoder.tokens.grid)


def block_masker(settings: ImageProcessorSettings) -> BlockMasker:
    """The masker that the settings describe. Raises `InputError` if more is to be hidden than there is."""
    try:
        return BlockMasker(
            grid=mask_grid(settings),
            **{argument: getattr(settings, setting) for setting, argument in BLOCK_ARGUMENTS.items()},
        )
    except ValueError as error:
        raise InputError(f"total_mask_patches: {str(error).removeprefix('total: ')}; give fewer") from error


def _seen(
    pictures: Sequence[Picture],
    views: Views,
    kind: str | None,
    augment: bool,
    generator: Generator,
    masker: ImageMasker | None,
) -> dict[str, Any]:
    """The fields of pictures; masks too if there is a masker."""
    settings = views.settings
    pixels, codebook_pixels = views.arrays(
        pictures, generator if augment else None, codebook=settings.return_codebook_pixels
    )
    made: dict[str, Any] = {"pixel_values": (pixels, settings.view)}
    if settings.return_codebook_pixels:
        made["codebook_pixel_values"] = (codebook_pixels, settings.codebook_view)
    if kind is None:
        made = {name: arrays for name, (arrays, _) in made.items()}
    else:
        made = {name: views.stacked(*found) for name, found in made.items()}
    if masker is not None:
        masks = masker(len(pictures), generator).numpy()
        made["bool_masked_pos"] = list(masks) if kind is None else masks
    return {name: torch.from_numpy(array) for name, array in made.items()} if kind == "pt" else made


def _sorted(
    changes: Mapping[str, Any], pictures: Mapping[str, Any], words: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The changes of picture settings and of text settings. Raises `InputError` for unknown and for doubled ones."""
    fields = tuple(ImageProcessorSettings.model_fields), tuple(TextSettings.model_fields)
    unknown = [_unknown(name, (*OWN, *fields[0], *fields[1])) for name in changes if name not in fields[0] + fields[1]]
    unknown += [_unknown(name, fields[0], "images_kwargs") for name in pictures if name not in fields[0]]
    unknown += [_unknown(name, fields[1], "text_kwargs") for name in words if name not in fields[1]]
    if unknown:
        raise InputError("; ".join(unknown))
    if doubled := sorted(changes.keys() & (pictures.keys() | words.keys())):
        raise InputError(f"{', '.join(doubled)}: given twice, alone and in images_kwargs or text_kwargs; give it once")
    return (
        {**pictures, **{name: value for name, value in changes.items() if name in fields[0]}},
        {**words, **{name: value for name, value in changes.items() if name in fields[1]}},
    )


def _unknown(name: str, known: tuple[str, ...], place: str = "the processor") -> str:
    hint = f"; {ELSEWHERE[name]}" if name in ELSEWHERE else meant(name, known)
    return f"{place} has no argument {name!r}" + (hint or f"; it takes {', '.join(known)}")
