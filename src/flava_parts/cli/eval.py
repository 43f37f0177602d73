"""``flava-parts eval``: how good is a finished model?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .models import BatchSize, Device, Model, Progress, opened
from .options import Json, Plugins

if TYPE_CHECKING:
    from ..data.sources.specs import SourceSpec

eval = typer.Typer(
    help="Measure a finished model: zero-shot classification, retrieval, linear probe.", no_args_is_help=True
)

CLASSES = "a folder that has a sub-folder of pictures for each class"


@eval.command("zero-shot")
def zero_shot(
    model: Model,
    folder: Annotated[
        str | None,
        typer.Argument(metavar="[FOLDER]", help=f"{CLASSES}; left out: the held-out emoji and their groups."),
    ] = None,
    templates: Annotated[
        list[str] | None,
        typer.Option("--template", help="A text with {} where the class goes; may be repeated.  [a photo of {}]"),
    ] = None,
    batch_size: BatchSize = 256,
    device: Device = None,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Put each picture into the class whose description it is nearest to; nothing is trained."""
    from ..evaluate.zero_shot import ZeroShot

    for template in templates or ():
        if "{}" not in template:
            raise InputError(f"--template {template!r}: has no {{}} where the name of a class goes")
    source = _labelled(folder, split="held_out")
    classes = source.classes
    options = {"templates": templates} if templates else {}
    evaluation = ZeroShot(source=source.build(), classes=classes, batch_size=batch_size, **options)
    using, processor = opened(model, device, plugins)
    with Progress() as progress:
        result = evaluation(using, processor, watch=progress)
    _tell(
        f"{result.pictures} pictures, {len(classes)} classes",
        result.record,
        {"pictures": result.pictures, "accuracy": result.accuracy} if as_json else None,
    )


@eval.command("retrieval")
def retrieval(
    model: Model,
    captions: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CAPTIONS]", help="A .csv, .tsv or .jsonl of picture and caption; left out: the held-out emoji."
        ),
    ] = None,
    batch_size: BatchSize = 256,
    device: Device = None,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Find the captions of each picture among all, and the picture of each caption: recall at 1, 5 and 10."""
    from ..data.sources.specs import EmojiSpec
    from ..evaluate.captions import read_captions
    from ..evaluate.retrieval import CaptionRetrieval, Retrieval

    if captions is not None:
        captioned = read_captions(captions)
        evaluation = CaptionRetrieval(captioned=captioned, batch_size=batch_size)
        pictures, texts = len(captioned), sum(len(each.captions) for each in captioned)
    else:
        source = EmojiSpec(split="held_out").build()
        evaluation = Retrieval(source=source, batch_size=batch_size)
        pictures = texts = len(source)
    using, processor = opened(model, device, plugins)
    with Progress() as progress:
        result = evaluation(using, processor, watch=progress)
    _tell(
        f"{pictures} pictures, {texts} captions",
        result.record,
        {"pictures": pictures, "captions": texts} if as_json else None,
    )


@eval.command("probe")
def probe(
    model: Model,
    train: Annotated[
        str | None, typer.Option(help=f"To fit on: {CLASSES}; left out: the emoji of the training split, by group.")
    ] = None,
    test: Annotated[
        str | None, typer.Option(help="To measure on: the same classes; left out: the held-out emoji.")
    ] = None,
    c: Annotated[
        float | None, typer.Option(help="Inverse strength of the penalty; left out: chosen on part of the training.")
    ] = None,
    batch_size: BatchSize = 256,
    device: Device = None,
    plugins: Plugins = None,
    as_json: Json = False,
) -> None:
    """Fit a linear classifier on the frozen image encoder by L-BFGS, and see what it gets right."""
    from ..evaluate.probe import LinearProbe

    if (train is None) != (test is None):
        raise InputError("--train and --test go together; leave both out for the emoji")
    if c is not None and not 0 < c < float("inf"):
        raise InputError(f"--c {c}: should be a number above 0")
    learnt, asked = _labelled(train, split="train"), _labelled(test, split="held_out")
    evaluation = LinearProbe(
        train=learnt.build(),
        test=asked.build(),
        train_classes=learnt.classes,
        test_classes=asked.classes,
        c=c,
        batch_size=batch_size,
    )
    using, processor = opened(model, device, plugins)
    with Progress() as progress:
        result = evaluation(using, processor, watch=progress)
    _tell(
        f"{result.pictures} pictures, c = {result.record['c']:.3g}",
        result.record,
        {"pictures": result.pictures, "accuracy": result.accuracy} if as_json else None,
    )


def _labelled(folder: str | None, *, split: Any) -> SourceSpec:
    """The pictures of a folder by class, or the emoji of a split by group."""
    from ..data.sources.specs import EmojiSpec, ImageFolderSpec

    return EmojiSpec(split=split) if folder is None else ImageFolderSpec(folder=folder)


def _tell(title: str, record: Mapping[str, float], facts: Mapping[str, Any] | None) -> None:
    """Print a table of the measures that have a place, or, with further facts, everything as JSON."""
    if facts is not None:
        print(json.dumps({**facts, **record}, indent=2))
        return
    from ..train.console import evaluation_table

    print(evaluation_table(title, {name: value for name, value in record.items() if "/" in name}))
