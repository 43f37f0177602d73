"""What follows from a spec: every derived number, and whether the parts agree. Pure functions, no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from .errors import Loc, Problem
from .evaluate.specs import DRAWN_ANYWAY
from .facts import (
    MODALITIES,
    STREAM_PASSES,
    Codes,
    ImageTokens,
    Layout,
    Pass,
    Provided,
    Size,
    Stream,
    Streams,
    TextTokens,
    Vocab,
    passes_to,
)
from .inputs.vocabulary import read_vocabulary, vocab_of
from .part import PartSpec
from .spec import FlavaSpec, RunSpec
from .train.course import course_problems

_FUSED = frozenset({Streams.FUSED_SUMMARY, Streams.FUSED_PATCHES, Streams.FUSED_WORDS})
_MASKED_IMAGE = frozenset({Streams.MASKED_PATCHES, Streams.FUSED_PATCHES})
_ALWAYS_THERE = frozenset({*STREAM_PASSES, Streams.TEXT_LABELS, Streams.MATCH_LABELS, Streams.MATCHED}) - _FUSED


@dataclass(frozen=True, slots=True)
class Wiring:
    """Every consequence of a `FlavaSpec`: what each part states, and what the losses read."""

    image: ImageTokens
    text: TextTokens
    layout: Layout | None
    codes: Codes | None
    vocab: Vocab
    image_size: Size
    codebook_size: Size | None
    reads: frozenset[Stream]
    """The streams that the losses with a weight read."""
    passes: frozenset[Pass]
    """The encoder passes that lead to them."""
    extra: Mapping[Stream, Provided] = field(default_factory=dict[Stream, Provided])
    """The streams that encoders and fusion provide besides FLAVA's own."""
    shares_space: bool = True
    """Whether a loss, with or without a weight, compares images with texts that were encoded apart."""

    @property
    def stream_passes(self) -> Mapping[Stream, Pass]:
        """Which encoder pass each stream of states is taken from."""
        return _passes(self.extra)

    @property
    def hides_patches(self) -> bool:
        """Whether a loss reads what comes of images with hidden patches."""
        return "image_masked" in passes_to(self.reads, self.stream_passes)

    @property
    def provides(self) -> frozenset[Stream]:
        """The streams that the filled slots can provide."""
        fused = _FUSED if self.layout is not None else frozenset[Stream]()
        coded = frozenset({Streams.IMAGE_LABELS}) if self.codes is not None else frozenset[Stream]()
        return _ALWAYS_THERE | fused | coded | self.extra.keys()

    def stream_width(self, stream: Stream) -> int:
        """Channels (D) of a stream of states. Raises KeyError for one that nobody provides."""
        if stream in _FUSED and self.layout is not None:
            return self.layout.width
        if stream in self.extra:
            return self.extra[stream].width
        return {
            Streams.IMAGE_SUMMARY: self.image.width,
            Streams.MASKED_PATCHES: self.image.width,
            Streams.TEXT_SUMMARY: self.text.width,
            Streams.MASKED_WORDS: self.text.width,
        }[stream]

    def label_count(self, stream: Stream) -> int:
        """Classes (V) of a stream of labels. Raises KeyError for one that nobody provides."""
        if stream == Streams.IMAGE_LABELS and self.codes is not None:
            return self.codes.vocab_size
        return {Streams.TEXT_LABELS: self.text.vocab_size, Streams.MATCH_LABELS: 2}[stream]


def wire(spec: FlavaSpec, vocab: Vocab | None = None) -> Wiring:
    """Derive every number of a model.

    ``vocab`` is the tokenizer's; if not given, bert-base-uncased's as far as the text encoder knows its ids.
    """
    image, text = spec.image_encoder.tokens, spec.text_encoder.tokens
    if vocab is None:
        vocab = vocab_of(read_vocabulary(None))
        size = min(vocab.size, text.vocab_size)
        vocab = replace(vocab, size=size, continuations=frozenset(id for id in vocab.continuations if id < size))
    reads = frozenset(stream for loss in spec.losses.values() if loss.weight for stream in loss.reads)
    extra = {
        name: stream
        for part in (spec.image_encoder, spec.text_encoder, spec.fusion)
        if part is not None
        for name, stream in part.streams.items()
    }
    passes = _passes(extra)
    return Wiring(
        image=image,
        text=text,
        layout=spec.fusion.layout(image, text) if spec.fusion else None,
        codes=spec.codebook.codes if spec.codebook else None,
        vocab=vocab,
        image_size=spec.image_encoder.image_size,
        codebook_size=spec.codebook.image_size if spec.codebook else None,
        reads=reads,
        passes=frozenset(passes[stream] for stream in reads if stream in passes),
        extra=extra,
        shares_space=any(
            loss.needs == MODALITIES["pairs"] and not loss.reads & _FUSED for loss in spec.losses.values()
        ),
    )


def _passes(extra: Mapping[Stream, Provided]) -> dict[Stream, Pass]:
    return {**STREAM_PASSES, **{name: stream.run for name, stream in extra.items()}}


def check(spec: FlavaSpec | RunSpec) -> list[Problem]:
    """Everything that the parts of a model or a run disagree about, errors and warnings."""
    if isinstance(spec, FlavaSpec):
        return list(problems(spec, wire(spec)))
    vocab = spec.data.tokenizer.vocab()
    found = [_below(("model",), problem) for problem in problems(spec.model, wire(spec.model, vocab))]
    return found + list(run_problems(spec, vocab))


def problems(spec: FlavaSpec, wiring: Wiring) -> Iterator[Problem]:
    """What the parts of a model disagree about."""
    for loc, part in parts_of(spec):
        for problem in part.problems(wiring):
            yield _below(loc, problem)
    yield from _unread_streams(spec, wiring)
    yield from _codes_cover_patches(spec, wiring)
    words_are_masked = spec.text_masker is not None and wiring.reads & (_FUSED | {Streams.MASKED_WORDS})
    if words_are_masked and max(wiring.vocab.special) >= wiring.text.vocab_size:
        yield Problem(
            ("text_encoder", "vocab_size"),
            f"the tokenizer's special ids go up to {max(wiring.vocab.special)}, beyond a vocabulary of "
            f"{wiring.text.vocab_size}; enlarge it, or leave out masking with text_masker: null",
            see=("text_masker",),
        )
    if getattr(spec.image_encoder, "mask_token", True) is False:
        if wiring.reads & _MASKED_IMAGE:
            yield Problem(
                ("image_encoder", "mask_token"), "a loss reads masked patches, which need a mask token; set it to true"
            )
        elif spec.image_masker is not None and wiring.hides_patches:
            yield Problem(
                ("image_encoder", "mask_token"),
                "patches are hidden, which needs a mask token; set it to true, or hide none with image_masker: null",
                see=("image_masker",),
            )
    yield from _idle_parts(spec, wiring)


def _unread_streams(spec: FlavaSpec, wiring: Wiring) -> Iterator[Problem]:
    for name, loss in spec.losses.items():
        for stream in sorted(loss.reads - wiring.provides):
            if stream in _FUSED:
                yield Problem(("losses", name), f"reads {stream}, but there is no fusion", see=("fusion",))
            elif stream == Streams.IMAGE_LABELS:
                yield Problem(("losses", name), f"reads {stream}, but there is no codebook", see=("codebook",))
            else:
                yield Problem(
                    ("losses", name),
                    f"reads {stream}, which nothing provides; there are {', '.join(sorted(wiring.provides))}",
                )


def _codes_cover_patches(spec: FlavaSpec, wiring: Wiring) -> Iterator[Problem]:
    if wiring.codes is None or spec.codebook is None or wiring.codes.grid == wiring.image.grid:
        return
    if Streams.IMAGE_LABELS in wiring.reads:
        yield Problem(
            ("codebook", "image_size"),
            f"the codebook gives {wiring.codes.grid} codes but the image encoder cuts {wiring.image.grid} patches",
            see=("image_encoder", "patch_size"),
        )


def _idle_parts(spec: FlavaSpec, wiring: Wiring) -> Iterator[Problem]:
    read_by = {
        "fusion": wiring.reads & _FUSED,
        "codebook": wiring.reads & {Streams.IMAGE_LABELS},
        "image_masker": wiring.hides_patches,
        "text_masker": wiring.reads & (_FUSED | {Streams.MASKED_WORDS}),
        "pair_masker": wiring.reads & {Streams.MATCH_LABELS},
    }
    for slot, readers in read_by.items():
        if getattr(spec, slot) is not None and not readers:
            yield Problem(
                (slot,), f"no loss with a weight reads what it gives; {slot}: null leaves it out", level="warning"
            )


def run_problems(spec: RunSpec, vocab: Vocab) -> Iterator[Problem]:
    """What model, data and training of a run disagree about, beyond the model's own problems."""
    model, data = spec.model, spec.data
    text = model.text_encoder.tokens
    if vocab.size > text.vocab_size:
        yield Problem(
            ("model", "text_encoder", "vocab_size"),
            f"the tokenizer has {vocab.size} tokens but the text encoder knows {text.vocab_size}",
            see=("data", "tokenizer"),
        )
    if data.tokenizer.length > text.length:
        yield Problem(
            ("data", "tokenizer", "length"),
            f"texts of {data.tokenizer.length} tokens do not fit an encoder of {text.length}",
            see=("model", "text_encoder", "length"),
        )
    for slot in ("image_encoder", "codebook"):
        part = getattr(model, slot)
        if part is not None and part.channels != 3:
            yield Problem(("model", slot, "channels"), f"pictures have 3 channels, not {part.channels}")
    wiring = wire(model, vocab)
    codes_are_read = Streams.IMAGE_LABELS in wiring.reads
    if model.codebook is not None and codes_are_read:
        if model.codebook.is_random:
            yield Problem(
                ("model", "codebook", "weights"),
                "nothing has trained this codebook, so its codes mean nothing; give a weights file, "
                "use flava.kmeans, or say weights: random",
            )
        if model.codebook.learns_from_images and all(stream.use == "texts" for stream in data.streams.values()):
            yield Problem(
                ("model", "codebook"), "has to be fitted on images, but no stream has any", see=("data", "streams")
            )
    yield from _stream_problems(spec)
    yield from _train_problems(spec, wiring)
    yield from _evaluation_problems(spec, wiring)


def _train_problems(spec: RunSpec, wiring: Wiring) -> Iterator[Problem]:
    """What the training of a run says of a model, data or evaluations that are otherwise."""
    train, model = spec.train, spec.model
    for problem in course_problems(model, train.changes, steps=train.steps, wiring=wiring):
        yield _below(("train", "changes"), problem)
    for setting in ("rates", "freeze_until", "initialize"):
        if "fusion" in getattr(train, setting) and model.fusion is None:
            yield Problem(("train", setting, "fusion"), "there is no fusion", see=("model", "fusion"))
    if "head" in train.rates:
        yield Problem(("train", "rates", "head"), "a pretraining has losses, and no head")
    if train.grad_cache and train.accumulate == 1:
        yield Problem(
            ("train", "grad_cache"), "a batch of one piece needs no cache; see train.accumulate", level="warning"
        )
    for name, loss in model.losses.items():
        if train.grad_cache and getattr(loss, "all_negative", "none") != "none":
            yield Problem(
                ("train", "grad_cache"),
                "takes batches apart, and cannot tell whether a whole batch has no true pair; set all_negative: none",
                see=("model", "losses", name, "all_negative"),
            )
    if train.evaluate_every and not spec.evaluate:
        yield Problem(("train", "evaluate_every"), "the run evaluates nothing; see evaluate", level="warning")
    if train.keep_best is not None and train.keep_best.partition("/")[0] not in spec.evaluate:
        known = ", ".join(spec.evaluate) or "none"
        yield Problem(
            ("train", "keep_best"),
            f"{train.keep_best!r} begins with no evaluation of the run, of which there are: {known}",
        )


def _evaluation_problems(spec: RunSpec, wiring: Wiring) -> Iterator[Problem]:
    """What the evaluations of a run say of its model, and of their names."""
    for name, evaluation in spec.evaluate.items():
        if name in DRAWN_ANYWAY:
            yield Problem(
                ("evaluate", name),
                f"{name}.png is another picture of the run's folder; give the evaluation another name",
            )
        for problem in evaluation.problems(wiring):
            yield _below(("evaluate", name), problem)


def _stream_problems(spec: RunSpec) -> Iterator[Problem]:
    losses = {name: loss for name, loss in spec.model.losses.items() if loss.weight}
    fed: set[str] = set()
    if not spec.data.streams:
        yield Problem(("data", "streams"), "a run needs at least one stream")
    for name, stream in spec.data.streams.items():
        loc: Loc = ("data", "streams", name)
        modalities = MODALITIES[stream.use]
        if missing := modalities - stream.source.provides:
            yield Problem((*loc, "use"), f"the source has no {' and no '.join(sorted(missing))}")
        apply = {loss for loss in losses if losses[loss].needs == modalities}
        for loss in stream.losses or ():
            if loss not in losses:
                yield Problem(
                    (*loc, "losses"), f"the model has no loss named {loss!r} with a weight; it has {', '.join(losses)}"
                )
            elif loss not in apply:
                yield Problem((*loc, "losses"), f"{loss} does not apply to {stream.use}")
        computed = apply if stream.losses is None else apply & set(stream.losses)
        if not computed:
            yield Problem(loc, f"no loss of the model applies to {stream.use}")
        fed |= computed
        batch_size = stream.batch_size or spec.train.batch_size
        piece = batch_size if spec.train.grad_cache else batch_size // spec.train.accumulate
        if piece < 2 and any({Streams.MATCH_LABELS, Streams.TEXT_SUMMARY} & losses[loss].reads for loss in computed):
            yield Problem(
                ("train", "batch_size") if stream.batch_size is None else (*loc, "batch_size"),
                "contrastive and matching losses compare rows of a batch, so it has to hold at least 2"
                + (", and so has each piece of it" if piece < batch_size else ""),
            )
    for loss in losses:
        if loss not in fed and spec.data.streams:
            yield Problem(("model", "losses", loss), "no stream of the run feeds it", level="warning")


def parts_of(spec: FlavaSpec) -> Iterator[tuple[Loc, PartSpec]]:
    """The parts that fill its slots, and where they are written."""
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if isinstance(value, PartSpec):
            yield (name,), value
        elif isinstance(value, dict):
            for key, part in value.items():
                yield (name, key), part


def _below(loc: Loc, problem: Problem) -> Problem:
    see = None if problem.see is None else (*loc[:1], *problem.see) if loc == ("model",) else problem.see
    return replace(problem, loc=(*loc, *problem.loc), see=see)
