"""How a pretrained model in transformers' layout reads texts and pictures, as the specs of a fine-tuning's data."""

from __future__ import annotations

from typing import cast

from ..errors import InputError
from ..inputs.pretrained import TOKENIZER, WORDS, read_processor
from ..inputs.processor import Processor
from ..inputs.settings import TokenizerSettings
from ..inputs.specs import ViewsSpec, WordPieceSpec
from ..inputs.views import settings_of
from ..inputs.vocabulary import read_vocabulary
from ..interop.stored import Stored
from ..spec import FlavaSpec

LONGEST = 77
"""Texts are cut to so many tokens where nobody says otherwise, as FLAVA's processors do."""

SAID_BY_VIEWS = {"image_mean", "image_std", "backend", "crop_size", "do_center_crop"}
"""What of a view's settings `ViewsSpec` says, or follows from the sizes."""


def processor_beside(pretrained: Stored | None, model: FlavaSpec) -> Processor | None:
    """The processor that was saved beside a model of transformers; None if there is none.

    Raises InputError if it cannot be read, and SpecError if it does not fit the model.
    """
    if pretrained is None or not any((pretrained.folder / name).is_file() for name in (TOKENIZER, WORDS)):
        return None
    return read_processor(pretrained.folder, model)


def tokenizer_of(processor: Processor | None, pretrained: Stored | None, model: FlavaSpec) -> WordPieceSpec:
    """The tokenizer of a processor; FLAVA's own without one. Texts have `LONGEST` tokens at most.

    A vocabulary that is not bert-base-uncased's stays in its vocab.txt. Raises InputError if there is no such file, or
    a setting that `WordPieceSpec` has no word for.
    """
    longest = min(LONGEST, model.text_encoder.tokens.length)
    if processor is None or pretrained is None:
        return WordPieceSpec(length=longest)
    words, settings = processor.tokenizer, processor.tokenizer.settings
    for name in ("strip_accents", "tokenize_chinese_chars", "padding_side"):
        if getattr(settings, name) != TokenizerSettings.model_fields[name].default:
            raise InputError(f"{pretrained.place}: its tokenizer has another {name} than BERT's; give data.tokenizer")
    own, file = words.tokens[: words.base], pretrained.folder / WORDS
    if own == read_vocabulary(None):
        file = None
    elif not file.is_file() or read_vocabulary(str(file), settings.special) != own:
        raise InputError(
            f"{pretrained.place}: its tokenizer has words of its own; write them into a {WORDS}, one a line, and give "
            "data.tokenizer.vocabulary"
        )
    return WordPieceSpec(
        vocabulary=None if file is None else str(file),
        lowercase=settings.do_lower_case,
        length=min(longest, words.length),
    )


def views_of(processor: Processor | None, pretrained: Stored | None, model: FlavaSpec) -> ViewsSpec:
    """The views of a processor; FLAVA's own without one. Raises InputError for a setting that `ViewsSpec` lacks."""
    if processor is None or pretrained is None:
        return ViewsSpec()
    settings = processor.settings
    mean, std = (
        cast(tuple[float, float, float], value if isinstance(value, tuple) else (value,) * 3)
        for value in (settings.image_mean, settings.image_std)
    )
    views = ViewsSpec(mean=mean, std=std, backend=settings.backend)
    wanted, said = settings.view, settings_of(model, views).view
    for name in type(wanted).model_fields.keys() - SAID_BY_VIEWS:
        if getattr(wanted, name) != getattr(said, name):
            raise InputError(
                f"{pretrained.place}: its pictures have a {name} that data.views cannot say; give data.views"
            )
    return views
