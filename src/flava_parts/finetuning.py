"""What follows from a `FinetuneSpec`, and whether its parts agree. Pure functions, no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .data.sources.specs import SourceSpec
from .errors import InputError, Loc, Problem
from .facts import pair
from .spec import FinetuneSpec, FlavaSpec
from .wiring import wire


def summary_width(model: FlavaSpec, reads: str) -> int:
    """Channels (D) of the summary that a head reads: of ``image``, ``text``, or ``fused``."""
    image, text = model.image_encoder.tokens, model.text_encoder.tokens
    if reads == "fused":
        assert model.fusion is not None
        return model.fusion.layout(image, text).width
    return image.width if reads == "image" else text.width


def finetune_problems(spec: FinetuneSpec) -> Iterator[Problem]:
    """Everything that head, data and training of a fine-tuning disagree about; with the model, if it is known."""
    if spec.model is None and spec.pretrained is None:
        yield Problem(
            ("pretrained",), "is still to be given: the folder of a pretrained model, as --from", level="warning"
        )
    for name in ("train", "held_out"):
        source: SourceSpec | None = getattr(spec.data, name)
        if source is not None:
            yield from _source_problems(spec, ("data", name), source)
    for slot in spec.train.freeze:
        if slot not in spec.head.slots:
            yield Problem(
                ("train", "freeze"),
                f"{slot} is no part of this model, whose head reads {spec.head.reads}",
                see=("head", "reads"),
                level="warning",
            )
    # Beside a pretrained model, what is written are changes to it: what they amount to shows once all is said.
    told = spec.pretrained is None or (spec.data.classes and spec.data.tokenizer and spec.data.views)
    if spec.model is not None and told:
        yield from _model_problems(spec, spec.model)


def _source_problems(spec: FinetuneSpec, loc: Loc, source: SourceSpec) -> Iterator[Problem]:
    if missing := spec.head.needs - source.provides:
        yield Problem(
            loc,
            f"the head reads {spec.head.reads}, but the source has no {' and no '.join(sorted(missing))}",
            see=("head", "reads"),
        )
    try:
        classes, expected = source.classes, spec.data.classes or spec.data.train.classes
    except InputError as error:
        # Where the classes are written, as in a checkpoint, the samples need not be there.
        if spec.data.classes is None:
            yield Problem(loc, str(error))
        return
    if not expected:
        yield Problem(loc, "the source's samples have no labels; choose another, or name their classes in data.classes")
    elif classes and classes != expected:
        yield Problem(loc, f"has the classes {_listed(classes)}, not {_listed(expected)}", see=_home_of_classes(spec))
    elif len(expected) < 2 and not spec.head.multi_label:
        yield Problem(loc, f"has the one class {_listed(expected)}; choosing takes two")


def _model_problems(spec: FinetuneSpec, model: FlavaSpec) -> Iterator[Problem]:
    if "fusion" in spec.head.slots and model.fusion is None:
        yield Problem(("head", "reads"), "reads fused, but the model has no fusion; read image or text")
        return
    tokenizer = spec.data.tokenizer
    vocab = tokenizer.vocab() if tokenizer is not None else None
    for problem in spec.head.problems(wire(model, vocab)):
        yield replace(problem, loc=("head", *problem.loc))
    if "text" in spec.head.needs and tokenizer is not None and vocab is not None:
        text = model.text_encoder.tokens
        if vocab.size > text.vocab_size:
            yield Problem(
                ("data", "tokenizer"),
                f"the tokenizer has {vocab.size} tokens but the text encoder knows {text.vocab_size}",
            )
        if tokenizer.length > text.length:
            yield Problem(
                ("data", "tokenizer", "length"),
                f"texts of {tokenizer.length} tokens do not fit an encoder of {text.length}",
            )
    if "image" in spec.head.needs:
        encoder = model.image_encoder
        if encoder.channels != 3:
            yield Problem(("model", "image_encoder", "channels"), f"pictures have 3 channels, not {encoder.channels}")
        patch = getattr(encoder, "patch_size", None)
        if spec.data.image_size is not None and patch is not None:
            for side, of_patch in zip(pair(spec.data.image_size), pair(patch), strict=True):
                if side % of_patch:
                    yield Problem(("data", "image_size"), f"patches of {of_patch} pixels do not tile a side of {side}")


def _home_of_classes(spec: FinetuneSpec) -> Loc:
    return ("data", "train") if spec.data.classes is None else ("data", "classes")


def _listed(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:8]) + (", …" if len(classes) > 8 else "")
