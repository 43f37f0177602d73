"""A fine-tuning from beginning to end: take over, train, measure, draw."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import cast

import torch

from ..compose import compose_classifier
from ..data.labelled import HeldOut, LabelledBatches, Labelling
from ..data.loading import Loading
from ..evaluate.classification import measure
from ..facts import Use
from ..heads.classification import FlavaForClassification
from ..interop.finetuned import processor_of
from ..interop.pretrained import load_stored
from ..interop.stored import open_stored
from ..loading import load_finetune
from ..plugins import default_registry
from ..registry import Registry
from ..spec import FinetuneSpec
from ..writing import to_yaml
from .average import AVERAGE
from .beginning import new_state
from .checkpoints.layout import MODEL, SPEC
from .checkpoints.tensor_files import save_tensors
from .claim import check_claim, claim
from .interruption import Interrupted, Interruption
from .json_lines import METRICS, read_metrics
from .loop import train
from .resume import checkpoint_of, go_on
from .run import Outcome, alone_in, checkpoints_of, deterministic
from .taking_over import completed, completed_from, take_over

_USES: dict[str, Use] = {"image": "images", "text": "texts", "fused": "pairs"}


def finetune(
    spec: FinetuneSpec,
    folder: Path,
    *,
    resume: str | Path = "auto",
    allow: Collection[str] = (),
    registry: Registry | None = None,
    log: Callable[[str], None] = print,
) -> Outcome:
    """Do what a fine-tuning spec says, in ``folder``, which then holds what a run's does: the pretrained model is not
    needed any more.

    ``resume``, ``allow``, ``registry`` and ``log`` are as in `run`. Repeats bit for bit, as a run does. Raises
    InputError if the folder holds another fine-tuning or the pretrained model lacks a tensor, SpecError for what the
    parts disagree about, and what `run` raises.
    """
    with deterministic(), alone_in(folder):
        return _finetune(spec, folder, resume, allow, registry or default_registry(), log)


def _finetune(
    spec: FinetuneSpec,
    folder: Path,
    resume: str | Path,
    allow: Collection[str],
    registry: Registry,
    log: Callable[[str], None],
) -> Outcome:
    begun = checkpoint_of(folder, resume, say=log)
    taken = spec.pretrained if begun is None else None
    pretrained = open_stored(taken, registry=registry) if taken is not None else None
    told = next((path / SPEC for path in (folder, begun) if path is not None and (path / SPEC).is_file()), None)
    if told is None:
        spec = completed_from(spec, pretrained)
    else:
        before = load_finetune(told, registry=registry)
        assert before.model is not None
        spec = completed(spec, before.model, before.data)
    check_claim(folder / SPEC, spec, registry=registry, allow=allow)
    torch.manual_seed(spec.train.seed)
    model = compose_classifier(spec)
    if pretrained is not None:
        take_over(model, load_stored(pretrained), place=pretrained.place)

    data, size, labelling = spec.data, spec.train.batch_size, _labelling(spec)
    batches = LabelledBatches(
        data.train, labelling, stream="train", batch_size=size, seed=spec.train.seed, on_error=data.on_error
    )
    held_out = HeldOut(data.held_out, labelling, stream="held_out", on_error=data.on_error) if data.held_out else None
    state = new_state(model, spec.train, say=log)
    checkpoints = checkpoints_of(spec, folder, registry)
    if begun is not None:
        go_on(state, begun, checkpoints, spec, registry=registry, say=log)
    claim(folder / SPEC, spec, registry=registry)  # only now: nothing has refused it
    observers = [observer.build(folder=folder) for observer in spec.observers.values()]
    trained = model if state.average is None else cast(FlavaForClassification, state.average.module)
    metrics: dict[str, float] = {}

    def evaluate() -> Mapping[str, float]:
        if held_out is not None:
            measures = measure(trained, held_out, batch_size=size)
            metrics.update({f"held_out/{name}": value for name, value in measures.items()})
        return dict(metrics)

    loading = Loading(batches, data, folder=folder, first=state.step, steps=spec.train.steps)
    with Interruption() as interruption, loading:
        try:
            if train(state, loading.batch, spec.train, observers, checkpoints, interruption, evaluate):
                with interruption.at_once():
                    if state.average is not None:
                        _leave_average(spec, folder, trained)
                    return Outcome(complete=True, step=state.step, metrics=metrics, pictures=_draw(folder))
        except Interrupted:
            pass  # while the finished model was drawn
    return Outcome(complete=False, step=state.step, metrics={}, pictures=(), signal=interruption.signal)


def _labelling(spec: FinetuneSpec) -> Labelling:
    processor = processor_of(spec)
    return Labelling(
        use=_USES[spec.head.reads],
        classes=len(spec.data.classes or ()),
        multi_label=spec.head.multi_label,
        tokenizer=processor.tokenizer,
        views=processor.views,
    )


def _leave_average(spec: FinetuneSpec, folder: Path, model: FlavaForClassification) -> None:
    """The averaged model, which is the one that was measured, in a folder for `load_finetuned`."""
    average = folder / AVERAGE
    shutil.rmtree(average, ignore_errors=True)  # of the same fine-tuning, when it had fewer steps
    average.mkdir()
    save_tensors(model.state_dict(), average / MODEL)
    (average / SPEC).write_text(to_yaml(spec), encoding="utf-8")


def _draw(folder: Path) -> tuple[Path, ...]:
    from ..report.curves import draw_curves  # matplotlib takes a second, and only here

    if not (folder / METRICS).is_file():
        return ()
    draw_curves(read_metrics(folder / METRICS), folder / "losses.png")
    return (folder / "losses.png",)
