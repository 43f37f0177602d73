"""What follows from a `FinetuneSpec`, and whether its parts agree. Pure functions, no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .data.sources.specs import SourceSpec
from .errors import InputError, Loc, Problem
from .facts import pair
from .heads.specs import ENCODERS
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
    yield from _train_problems(spec)
    # Beside a pretrained model, what is written are changes to it: what they amount to shows once all is said.
    told = spec.pretrained is None or (spec.data.classes and spec.data.tokenizer and spec.data.views)
    if spec.model is not None and told:
        yield from _model_problems(spec, spec.model)


def _train_problems(spec: FinetuneSpec) -> Iterator[Problem]:
    """The settings of training that a fine-tuning has no use for."""
    train, slots = spec.train, spec.head.slots
    if "losses" in train.rates:
        yield Problem(("train", "rates", "losses"), "a fine-tuning has a head, and no losses; give the rate of head")
    for setting in ("rates", "freeze_until"):
        for slot in ENCODERS:
            if slot in getattr(train, setting) and slot not in slots:
                yield Problem(
                    ("train", setting, slot),
                    f"is no part of this model, whose head reads {spec.head.reads}",
                    see=("head", "reads"),
                )
    for slot in train.freeze:
        if slot in train.freeze_until:
            yield Problem(
                ("train", "freeze_until", slot),
                "would thaw what train.freeze keeps as it is to the end; name the part in one of them",
                see=("train", "freeze"),
            )
    for setting, is_given in (("parallel", train.parallel != "ddp"), ("shard_ranks", train.shard_ranks is not None)):
        if is_given:
            yield Problem(("train", setting), "a fine-tuning is one process, and shares its model with no other")
    yield from _measure_problems(spec)


def _measure_problems(spec: FinetuneSpec) -> Iterator[Problem]:
    """What training says of measures on held-out samples that are not made."""
    train = spec.train
    if spec.data.held_out is None:
        if train.evaluate_every is not None:
            yield Problem(("train", "evaluate_every"), "nothing is held out; see data.held_out", level="warning")
        if train.keep_best is not None:
            yield Problem(("train", "keep_best"), "nothing is held out to choose the best by; see data.held_out")
        return
    measure = "held_out/mean_average_precision" if spec.head.multi_label else "held_out/accuracy"
    if train.keep_best not in (None, measure):
        yield Problem(
            ("train", "keep_best"),
            f"the best of this fine-tuning is what has the highest {measure}, not {train.keep_best}",
        )


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
