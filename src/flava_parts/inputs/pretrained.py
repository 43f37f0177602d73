"""Processors in the files of transformers: preprocessor_config.json, tokenizer.json and those around them.

Files are data here: they are parsed and checked as JSON, and the tokenizer is made anew from what they say. The
tokenizers library's own reader is not used, since a crafted file can end the process inside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import NonNegativeInt, ValidationError
from tokenizers import AddedToken

from ..errors import InputError, Mark, SpecError
from ..messages import show
from ..part import Spec
from .processor import Processor, other_masker
from .settings import Backend, ImageProcessorSettings, Token, TokenizerSettings, changed
from .torchvision_view import has_lanczos
from .views import Views, settings_of
from .vocabulary import read_vocabulary
from .wordpiece import WordPiece

if TYPE_CHECKING:
    from ..spec import FlavaSpec

PICTURES, BOTH = "preprocessor_config.json", "processor_config.json"
TOKENIZER, WORDS = "tokenizer.json", "vocab.txt"
TOKENIZER_SETTINGS, SPECIAL_TOKENS = "tokenizer_config.json", "special_tokens_map.json"

MAX_BYTES = 64_000_000
"""Larger files are refused unread; BERT's tokenizer.json has 0.7 MB."""

UNLIMITED = 1_000_000_000
"""Lengths above it are transformers' way to say that none is known."""

POSITIONS = 512
"""The longest text, in tokens, where no file and no model says one: BERT's, and flava-full's."""

IMAGE_PROCESSORS: dict[str, Backend | None] = {
    "FlavaImageProcessor": None,
    "FlavaFeatureExtractor": None,
    "FlavaImageProcessorFast": "torchvision",
    "FlavaImageProcessorPil": "pil",
}
"""Names under which FLAVA's settings of pictures are saved, and the back end that a name says, if it says one."""

BACKEND = "image_processor_backend"
"""The key, ours, under which the back end is written: transformers writes the same name for both."""

BERT_TOKENIZERS = ("BertTokenizer", "BertTokenizerFast")
OTHER_TOKENIZERS = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Names under which a BERT tokenizer is saved too; then tokenizer.json says how texts are normalised."""

NO_SETTINGS = {
    "processor_class",
    "image_processor_type",
    "feature_extractor_type",
    "auto_map",
    "_valid_processor_keys",
    "return_tensors",
    "device",
    "do_pad",
    "pad_size",
    "image_seq_length",
}
"""What transformers writes into these files, and what says nothing about FLAVA's pictures."""

CASE = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
"""Settings of normalising, and what tokenizer.json calls them."""


ONLY_BERT = "FLAVA's tokenizer is BERT's"


class AddedEntry(Spec):
    """A token that is matched before texts are cut into words, as tokenizer.json lists it."""

    id: NonNegativeInt
    content: Token
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = False

    def token(self) -> AddedToken:
        """The tokenizers library's object."""
        return AddedToken(**self.model_dump(exclude={"id"}))


def read_processor(folder: str | Path, model: FlavaSpec | None = None) -> Processor:
    """The processor that transformers saved into a folder, in its forms of version 4 and 5.

    Pictures are resized by the back end that transformers 5 would load: torchvision, wherever it has Lanczos' filter,
    whichever class was saved. What this package wrote says whose it is.

    model: what the processor is for. Where no file says how pictures become tensors, that follows from the model.

    Raises `InputError` for files that are missing, damaged or of another architecture, and `SpecError`, with all of
    them, for disagreements with the model.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; download the processor's files and give the folder they are in")
    file, settings = _picture_settings(folder, model)
    tokenizer = _tokenizer(folder, POSITIONS if model is None else model.text_encoder.tokens.length)
    processor = Processor(
        tokenizer=tokenizer,
        views=Views(settings),
        image_masker=None if model is None else other_masker(model),
        text_masker=_text_masker(tokenizer, model),
    )
    problems = [] if model is None else list(processor.disagreements(model))
    if problems:
        files = dict.fromkeys(ImageProcessorSettings.model_fields, file)
        sources = [Mark(str(files.get(str(problem.loc[0]), folder / TOKENIZER_SETTINGS))) for problem in problems]
        raise SpecError(replace(problem, source=mark) for problem, mark in zip(problems, sources, strict=True))
    return processor


def write_processor(processor: Processor, folder: str | Path) -> None:
    """Leave a processor in a folder as transformers reads it, versions 4 and 5: `FlavaProcessor.from_pretrained`.

    For version 4 the class is the one of the back end; version 5 loads torchvision unless told ``backend="pil"``.
    What transformers' files have no word for stays behind: the text masker, and an image masker of other than blocks.
    A grid of patches that is no square is written as [rows, columns], which only this package draws masks over.
    """
    folder = Path(folder)
    tokenizer, special = processor.tokenizer, processor.tokenizer.settings
    pictures = _written(processor.settings)
    names = {name: value for name, value in special if name.endswith("_token")}
    added = {entry["id"]: entry for entry in json.loads(tokenizer.core.to_str())["added_tokens"]}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / PICTURES, {**pictures, "processor_class": "FlavaProcessor"})
        _write(folder / BOTH, {"image_processor": pictures, "processor_class": "FlavaProcessor"})
        _write(
            folder / TOKENIZER_SETTINGS,
            {
                **special.model_dump(),
                "tokenizer_class": "BertTokenizer",
                "processor_class": "FlavaProcessor",
                "added_tokens_decoder": {
                    str(id): {name: value for name, value in entry.items() if name != "id"}
                    for id, entry in sorted(added.items())
                },
            },
        )
        _write(folder / SPECIAL_TOKENS, names)
        _write(folder / TOKENIZER, {**json.loads(tokenizer.core.to_str()), "truncation": None, "padding": None})
        words = tokenizer.tokens[: tokenizer.base]
        if not any("\n" in word or "\r" in word for word in words):
            (folder / WORDS).write_bytes("".join(f"{word}\n" for word in words).encode())
    except OSError as error:
        raise InputError(f"{folder}: the processor could not be written ({error.strerror})") from error


def _written(settings: ImageProcessorSettings) -> dict[str, Any]:
    """Picture settings as transformers' files hold them."""
    values = settings.model_dump(exclude={"backend"}, exclude_none=True) | {BACKEND: settings.backend}
    for prefix, view in (("", settings.view), ("codebook_", settings.codebook_view)):
        if view is not None and view.crop is not None and view.crop_size is None:
            values[f"{prefix}crop_size"] = view.size.entries()
    fast = settings.backend == "torchvision"
    return {**values, "image_processor_type": "FlavaImageProcessorFast" if fast else "FlavaImageProcessor"}


def usual_backend() -> Backend:
    """The back end that transformers chooses for FLAVA's pictures where it is not told one."""
    return "torchvision" if has_lanczos() else "pil"


def read_picture_settings(folder: Path) -> tuple[Path, ImageProcessorSettings] | None:
    """The file of a folder that holds the settings of pictures, and what it holds; None if there is no such file.

    Raises `InputError` for a file that is damaged or of another architecture.
    """
    for path, key in ((folder / BOTH, "image_processor"), (folder / PICTURES, None)):
        block = _read(path) if path.is_file() else {}
        block = block if key is None else block.get(key)
        if not block:
            continue
        if not isinstance(block, dict):
            raise InputError(f"{path}: {key} is a block of settings, not {show(block)}")
        entries = cast(dict[str, Any], block)
        kind = entries.get("image_processor_type") or entries.get("feature_extractor_type")
        if kind is not None and kind not in tuple(IMAGE_PROCESSORS):
            raise InputError(f"{path}: the settings of {show(kind)}; FLAVA's are those of FlavaImageProcessor")
        given = {name: value for name, value in entries.items() if name not in NO_SETTINGS}
        named = None if kind is None else IMAGE_PROCESSORS[kind]
        backend = given.pop(BACKEND, None) or named or usual_backend()
        return path, changed(ImageProcessorSettings(), {"backend": backend, **given}, where=f"{path}: ")
    return None


def _picture_settings(folder: Path, model: FlavaSpec | None) -> tuple[Path, ImageProcessorSettings]:
    """The settings of pictures, and the file that holds them, or would."""
    found = read_picture_settings(folder)
    if found is not None:
        return found
    if model is None:
        raise InputError(f"{folder}: holds neither {PICTURES} nor {BOTH}; give a folder with one, or the model")
    from .specs import ViewsSpec

    return folder / PICTURES, settings_of(model, ViewsSpec())


def _text_masker(tokenizer: WordPiece, model: FlavaSpec | None) -> Any:
    from ..maskers.specs import BertTokenMaskerSpec

    spec = BertTokenMaskerSpec() if model is None else model.text_masker
    return spec and spec.build(vocab=tokenizer.vocab)


def _tokenizer(folder: Path, longest: int) -> WordPiece:
    config, path = folder / TOKENIZER_SETTINGS, folder / TOKENIZER
    given = _read(config) if config.is_file() else {}
    names = _read(folder / SPECIAL_TOKENS) if (folder / SPECIAL_TOKENS).is_file() else {}
    kind = given.get("tokenizer_class")
    if kind is not None and kind not in (*BERT_TOKENIZERS, *OTHER_TOKENIZERS):
        raise InputError(f"{config}: the settings of {show(kind)}; FLAVA's tokenizer is BertTokenizer")
    fields = TokenizerSettings.model_fields
    values = {name: _content(value) for name, value in {**names, **given}.items() if name in fields}
    length = values.get("model_max_length")
    if length is None or (isinstance(length, (int, float)) and length > UNLIMITED):
        values["model_max_length"] = longest
    content = _read(path) if path.is_file() else None
    if content is not None and kind not in BERT_TOKENIZERS:
        normalizer = _block(path, content, "normalizer")
        values |= {name: normalizer[key] for name, key in CASE.items() if key in normalizer}
    settings = changed(TokenizerSettings(), values, where=f"{config}: ")
    listed = _entries(config, given.get("added_tokens_decoder"))
    if content is None:
        if not (folder / WORDS).is_file():
            raise InputError(f"{folder}: holds neither {TOKENIZER} nor {WORDS}; give a folder with one")
        path = folder / WORDS
        tokens = read_vocabulary(str(path), settings.special)
    else:
        tokens = _tokens(path, content, settings)
        listed = {**listed, **_entries(path, content.get("added_tokens"))}
    return WordPiece.of(tokens, settings, list(_added(path, tokens, listed)))


def _content(value: Any) -> Any:
    """A special token, written as text or as a block around it."""
    return cast(dict[str, Any], value).get("content", "") if isinstance(value, dict) else value


def _tokens(path: Path, content: Mapping[str, Any], settings: TokenizerSettings) -> tuple[str, ...]:
    """The tokens that a tokenizer.json cuts words into, by id. Raises `InputError` unless it is a BERT tokenizer's."""
    model = _block(path, content, "model", "WordPiece")
    normalizer = _block(path, content, "normalizer", "BertNormalizer")
    _block(path, content, "pre_tokenizer", "BertPreTokenizer")
    _block(path, content, "decoder", "WordPiece", None)
    frame = _block(path, content, "post_processor", "BertProcessing", "TemplateProcessing")
    if normalizer.get("clean_text", True) is not True:
        raise InputError(f"{path}: normalizer does not clean texts; {ONLY_BERT}")
    for name, usual in (("continuing_subword_prefix", "##"), ("max_input_chars_per_word", 100)):
        if model.get(name, usual) != usual:
            raise InputError(f"{path}: model.{name} is {show(model[name])}, not {show(usual)}; {ONLY_BERT}")
    words: Any = model.get("vocab")
    if not isinstance(words, dict) or not words:
        raise InputError(f"{path}: model.vocab is a block of tokens and their ids, not {show(words)}")
    ids = cast(dict[str, Any], words)
    for token, id in ids.items():
        if type(id) is not int or not 0 <= id < len(ids):
            raise InputError(f"{path}: the id of {token!r} is {show(id)}; {len(ids)} tokens have ids from 0")
    if len(set(ids.values())) != len(ids):
        raise InputError(f"{path}: two tokens have one id; each needs its own")
    if missing := [token for token in settings.special if token not in ids]:
        raise InputError(f"{path}: the vocabulary has no {', '.join(missing)}; name the special tokens that it has")
    around = {name: [token, ids[token]] for name, token in (("cls", settings.cls_token), ("sep", settings.sep_token))}
    if _frame(frame) != [around["cls"], around["sep"]]:
        raise InputError(
            f"{path}: post_processor puts other tokens around a text than {settings.cls_token} and {settings.sep_token}"
        )
    return tuple(sorted(ids, key=ids.__getitem__))


def _block(path: Path, content: Mapping[str, Any], name: str, *types: str | None) -> dict[str, Any]:
    """A block of a tokenizer.json, empty if it is null. Raises `InputError` unless its type is one of ``types``."""
    value: Any = content.get(name)
    if value is not None and not isinstance(value, dict):
        raise InputError(f"{path}: {name} is {show(value)} where a block is wanted; {ONLY_BERT}")
    found = cast(dict[str, Any], value or {})
    if types and found.get("type") not in types:
        raise InputError(f"{path}: {name} is of type {show(found.get('type'))}; {ONLY_BERT}")
    return found


def _frame(block: Mapping[str, Any]) -> list[Any] | None:
    """[[summary, id], [separator, id]] that a post-processor puts around a text; None if it does something else."""
    try:
        if block["type"] == "BertProcessing":
            return [list(block["cls"]), list(block["sep"])]
        first, text, last = block["single"]
        if text["Sequence"] != {"id": "A", "type_id": 0}:
            return None
        found = [piece["SpecialToken"] for piece in (first, last)]
        if any(piece["type_id"] for piece in found):
            return None
        return [[piece["id"], *block["special_tokens"][piece["id"]]["ids"]] for piece in found]
    except (KeyError, TypeError, ValueError):
        return None


def _entries(path: Path, given: Any) -> dict[int, AddedEntry]:
    """The added tokens that a file lists, by id: a list of blocks, or blocks by id."""
    try:
        if isinstance(given, dict):
            blocks = [{**entry, "id": int(id)} for id, entry in cast(dict[str, Any], given).items()]
        else:
            blocks = list(cast(Sequence[Any], given or ()))
        return {entry.id: entry for entry in map(AddedEntry.model_validate, blocks)}
    except (TypeError, ValueError, ValidationError) as error:
        raise InputError(f"{path}: the added tokens are not blocks of content and flags; save them anew") from error


def _added(path: Path, tokens: tuple[str, ...], entries: Mapping[int, AddedEntry]) -> Iterator[AddedToken]:
    """Added tokens in the order of their ids, each checked to have the id that it says."""
    ends, known = len(tokens), set(tokens)
    for id, entry in sorted(entries.items()):
        if id < len(tokens):
            right = tokens[id] == entry.content
        else:
            right = id == ends and entry.content not in known
            known.add(entry.content)
            ends += 1
        if not right:
            raise InputError(f"{path}: the added token {entry.content!r} cannot have the id {id}; save it anew")
        yield entry.token()


def _read(path: Path) -> dict[str, Any]:
    """The block that a JSON file holds."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: more than {MAX_BYTES // 1_000_000} MB; this is no file of a processor")
        content: Any = json.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: could not be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0] if isinstance(error, ValueError) else "nested too deep"
        raise InputError(f"{path}: damaged JSON ({reason}); save or download it anew") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds {show(content)} where a block of names is wanted")
    return cast(dict[str, Any], content)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_bytes((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
