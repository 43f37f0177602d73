"""A fine-tuning from beginning to end: take over, train, measure, draw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from ..compose import compose_classifier
from ..data.collation import Use
from ..data.keyed import keyed_generator
from ..data.labelled import Labelled
from ..data.loader import Batch
from ..data.order import Order
from ..data.sources.specs import SourceSpec
from ..errors import InputError
from ..evaluate.classification import measure
from ..inputs.processor import Processor
from ..interop.finetuned import processor_of
from ..interop.pretrained import load_stored
from ..interop.stored import open_stored
from ..loading import load_finetune
from ..registry import Registry
from ..spec import FinetuneSpec
from ..writing import to_yaml
from .checkpoint import SPEC
from .json_lines import METRICS, read_metrics
from .layer_decay import layer_factors, scale_rates
from .loop import State, train
from .run import Outcome, claim, deterministic, restore
from .taking_over import completed, completed_from, take_over

_USES: dict[str, Use] = {"image": "images", "text": "texts", "fused": "pairs"}


def finetune(
    spec: FinetuneSpec,
    folder: Path,
    *,
    resume: Path | None = None,
    registry: Registry | None = None,
    log: Callable[[str], None] = print,
) -> Outcome:
    """Do what a fine-tuning spec says, in ``folder``, which then holds what a run's does: the pretrained model is not
    needed any more.

    ``resume`` is the checkpoint to go on from; ``registry`` holds the parts that the folder's spec may name, those of
    all installed plugins if not given. Repeats bit for bit, as a run does. Raises InputError if the folder holds
    another fine-tuning or the pretrained model lacks a tensor, and SpecError for what the parts disagree about.
    """
    with deterministic():
        return _finetune(spec, folder, resume, registry, log)


def _finetune(
    spec: FinetuneSpec, folder: Path, resume: Path | None, registry: Registry | None, log: Callable[[str], None]
) -> Outcome:
    taken = spec.pretrained if resume is None else None
    pretrained = open_stored(taken, registry=registry) if taken is not None else None
    begun = next((path / SPEC for path in (folder, resume) if path is not None and (path / SPEC).is_file()), None)
    if begun is None:
        spec = completed_from(spec, pretrained)
    else:
        before = load_finetune(begun, registry=registry)
        assert before.model is not None
        spec = completed(spec, before.model, before.data)
    torch.manual_seed(spec.train.seed)
    model, spec_yaml = compose_classifier(spec), to_yaml(spec)
    if pretrained is not None:
        take_over(model, load_stored(pretrained), place=pretrained.place)
    folder.mkdir(parents=True, exist_ok=True)
    claim(folder / SPEC, spec, spec_yaml, registry)

    processor, seed, size = processor_of(spec), spec.train.seed, spec.train.batch_size
    samples = _labelled(spec, spec.data.train, "data.train", processor)
    try:
        order = Order(size=len(samples), batch_size=size, key=(seed, "order", "train"))
    except InputError as error:
        raise InputError(f"data.train: {error}") from error
    held_out = _labelled(spec, spec.data.held_out, "data.held_out", processor) if spec.data.held_out else None

    def batch_of(step: int) -> Batch:
        return Batch("train", None, samples.tensors(order.batch(step), keyed_generator(seed, "batch", step)))

    state = State(model=model, optimizer=spec.train.optimizer.build(model=model))
    scale_rates(state.optimizer, model, layer_factors(model, spec.train.layer_decay))
    if resume is not None:
        restore(state, resume)
        log(f"going on from {resume}, after {state.step} of {spec.train.steps} steps")
    observers = [observer.build(folder=folder) for observer in spec.observers.values()]
    if not train(state, batch_of, spec.train, observers, folder, spec_yaml):
        return Outcome(complete=False, step=state.step, metrics={}, pictures=())
    metrics: dict[str, float] = {}
    if held_out is not None:
        metrics = {f"held_out/{name}": value for name, value in measure(model, held_out, batch_size=size).items()}
        for observer in observers:
            observer.evaluated({"step": state.step, **metrics})
    return Outcome(complete=True, step=state.step, metrics=metrics, pictures=_draw(folder))


def _labelled(spec: FinetuneSpec, source: SourceSpec, place: str, processor: Processor) -> Labelled:
    return Labelled(
        source.build(),
        place=place,
        use=_USES[spec.head.reads],
        classes=len(spec.data.classes or ()),
        multi_label=spec.head.multi_label,
        tokenizer=processor.tokenizer,
        views=processor.views,
    )


def _draw(folder: Path) -> tuple[Path, ...]:
    from ..report.curves import draw_curves  # matplotlib takes a second, and only here

    if not (folder / METRICS).is_file():
        return ()
    draw_curves(read_metrics(folder / METRICS), folder / "losses.png")
    return (folder / "losses.png",)
