"""A run from beginning to end: compose, fit the codebook, train, evaluate, draw."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..compose import compose
from ..data.keyed import keyed_generator
from ..data.loader import Batch, Batches
from ..errors import InputError
from ..evaluate.retrieval import RetrievalResult
from ..inputs.processor import Processor
from ..loading import AnySpec, load
from ..model import FlavaForPreTraining
from ..registry import Registry
from ..spec import RunSpec
from ..writing import to_yaml
from .checkpoint import CHECKPOINTS, SPEC, load_model, load_optimizer, newest_checkpoint, step_of
from .loop import State, train

CODEBOOK_IMAGES = 2000
"""A codebook is fitted on so many pictures of the run, or on all if there are fewer."""


@runtime_checkable
class FittedCodebook(Protocol):
    """A codebook that learns from images before it gives codes."""

    def fit(self, images: Tensor, generator: torch.Generator) -> object:
        """Learn from images (N, C, h, w)."""

    def save(self, path: Path) -> None:
        """Write what was learnt to a safetensors file."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: whether complete, after how many updates, what was measured, which pictures show it."""

    complete: bool
    step: int
    metrics: dict[str, float]
    pictures: tuple[Path, ...]


def run(
    spec: RunSpec,
    folder: Path,
    *,
    resume: Path | None = None,
    registry: Registry | None = None,
    log: Callable[[str], None] = print,
) -> Outcome:
    """Do what a run spec says, in ``folder``, which then holds `spec.yaml`, `metrics.jsonl`, checkpoints and pictures.

    ``resume`` is the checkpoint to go on from; ``registry`` holds the parts that the folder's spec may name, those of
    all installed plugins if not given. The same spec, seed and number of threads give the same numbers, bit
    for bit. Raises InputError if the folder holds another run.
    """
    with deterministic():
        return _run(spec, folder, resume, registry, log)


def _run(
    spec: RunSpec, folder: Path, resume: Path | None, registry: Registry | None, log: Callable[[str], None]
) -> Outcome:
    spec_yaml = to_yaml(spec)
    folder.mkdir(parents=True, exist_ok=True)
    claim(folder / SPEC, spec, spec_yaml, registry)
    torch.manual_seed(spec.train.seed)
    model = compose(spec.model, vocab=spec.data.tokenizer.vocab())
    batches = Batches(data=spec.data, model=spec.model, batch_size=spec.train.batch_size, seed=spec.train.seed)
    state = State(model=model, optimizer=spec.train.optimizer.build(model=model))
    if resume is not None:
        restore(state, resume)
        log(f"going on from {resume}, after {state.step} of {spec.train.steps} steps")
    elif spec.model.codebook is not None and spec.model.codebook.learns_from_images:
        log(f"fitting {spec.model.codebook.codes.vocab_size} codes on the run's pictures")
        fit_codebook(model, batches, seed=spec.train.seed, path=folder / "codebook.safetensors")
    observers = [observer.build(folder=folder) for observer in spec.observers.values()]

    def masked_batch(step: int) -> Batch:
        batch = batches.batch(step)
        generator = keyed_generator(spec.train.seed, "mask", step)
        return batch._replace(tensors=model.mask(batch.tensors, generator, losses=batch.losses))

    if not train(state, masked_batch, spec.train, observers, folder, spec_yaml):
        return Outcome(complete=False, step=state.step, metrics={}, pictures=())
    processor = Processor.of(spec.model, spec.data)
    metrics: dict[str, float] = {}
    results: dict[str, RetrievalResult] = {}
    for name, evaluation in spec.evaluate.items():
        result = evaluation.build()(model, processor)
        metrics |= {f"{name}/{key}": value for key, value in result.record.items()}
        if isinstance(result, RetrievalResult):
            results[name] = result
    if metrics:
        for observer in observers:
            observer.evaluated({"step": state.step, **metrics})
    from ..report.pictures import draw_pictures  # matplotlib takes a second, and only here

    return Outcome(
        complete=True,
        step=state.step,
        metrics=metrics,
        pictures=draw_pictures(folder, model=model, processor=processor, results=results, seed=spec.train.seed),
    )


def fit_codebook(model: FlavaForPreTraining, batches: Batches, *, seed: int, path: Path) -> None:
    """Fit the codebook on the run's own images, and keep it in a safetensors file."""
    codebook = model.codebook
    assert isinstance(codebook, FittedCodebook)
    codebook.fit(batches.codebook_pixels(CODEBOOK_IMAGES), keyed_generator(seed, "codebook"))
    codebook.save(path)


def checkpoint_of(folder: Path, resume: str) -> Path | None:
    """The checkpoint that ``--resume`` means: `auto` the newest in the folder, `never` none, else a checkpoint's path.

    Raises InputError if there is nothing at the path, or `never` meets a folder that has a checkpoint already.
    """
    newest = newest_checkpoint(folder / CHECKPOINTS)
    if resume == "auto":
        return newest
    if resume == "never":
        if newest is not None:
            raise InputError(f"{folder}: holds a run already; choose another --out, or go on with --resume auto")
        return None
    if not (Path(resume) / SPEC).is_file():
        raise InputError(f"{resume}: is not a checkpoint; `auto` finds the newest of --out")
    return Path(resume)


@contextmanager
def deterministic() -> Generator[None]:
    """Only algorithms that give the same numbers every time; outside, what was allowed before."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=before)


def restore(state: State, checkpoint: Path) -> None:
    """Put a run where its checkpoint was written. Raises InputError if that cannot be read or does not fit."""
    load_model(checkpoint, state.model)
    load_optimizer(checkpoint, state.model, state.optimizer)
    state.step = step_of(checkpoint)


def claim(path: Path, spec: AnySpec, spec_yaml: str, registry: Registry | None) -> None:
    """Write the resolved spec, or see that the folder's is the same."""
    if not path.exists():
        path.write_text(spec_yaml, encoding="utf-8")
        return
    if load(path, type(spec), registry=registry).spec != spec:
        raise InputError(f"{path}: the folder holds a run with another spec; choose another --out")
