"""A run from beginning to end: compose, fit the codebook, train, evaluate, draw."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from ..compose import compose
from ..data.keyed import keyed_generator
from ..data.loader import Batches
from ..data.loading import Loading
from ..errors import FlavaPartsError
from ..evaluate.retrieval import RetrievalResult
from ..inputs.processor import Processor
from ..interop.saving import save_pretrained
from ..model import FlavaForPreTraining
from ..plugins import default_registry
from ..registry import Registry
from ..spec import FinetuneSpec, RunSpec
from ..writing import to_yaml
from .average import AVERAGE
from .beginning import initialize, new_state
from .checkpoints.layout import CHECKPOINTS, SPEC
from .checkpoints.run_lock import LOCK, run_lock
from .checkpoints.saving import Checkpoints
from .checkpoints.surroundings import surroundings
from .claim import check_claim, claim
from .course import Course
from .distribution import Spread, joined, local_device, share_first
from .interruption import SIGNALS, Interrupted, Interruption
from .loop import train
from .ranks import OneProcess, Ranks, first_does
from .resume import checkpoint_of, go_on

CODEBOOK_IMAGES = 2000
"""A codebook is fitted on so many pictures of the run, or on all if there are fewer."""


@runtime_checkable
class FittedCodebook(Protocol):
    """A codebook that learns from images before it gives codes."""

    def fit(self, images: Tensor, generator: torch.Generator) -> object:
        """Learn from images (N, C, h, w)."""

    def save(self, path: Path) -> None:
        """Write what was learnt to a safetensors file."""


class RunError(FlavaPartsError):
    """The run could not go on, for a reason outside it: a disk that is full or may not be written to."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: whether complete, after how many updates, what was measured, which pictures show it."""

    complete: bool
    step: int
    metrics: dict[str, float]
    pictures: tuple[Path, ...]
    signal: signal.Signals | None = None
    """What interrupted it, if it is not complete."""


def run(
    spec: RunSpec,
    folder: Path,
    *,
    resume: str | Path = "auto",
    allow: Collection[str] = (),
    registry: Registry | None = None,
    log: Callable[[str], None] = print,
) -> Outcome:
    """Do what a run spec says, in ``folder``, which then holds `spec.yaml`, `metrics.jsonl`, checkpoints and pictures.

    Args:
        resume: ``auto`` goes on from the folder's newest checkpoint, if it has one; ``never`` refuses a folder that has
            one; else the checkpoint to go on from.
        allow: the values of the spec that may differ from the folder's, ``train.steps``, or whole blocks.
        registry: the parts that the folder's spec may name, those of all installed plugins if not given.
        log: is told what happens.

    The same spec, seed and number of threads give the same numbers, bit for bit, however often the run was interrupted
    on the way. Raises InputError if the folder holds another run, or somebody trains in it, and RunError or
    CheckpointError if it cannot be written to.
    """
    with deterministic(), joined() as ranks, alone_in(folder, ranks):
        return _run(spec, folder, resume, allow, registry or default_registry(), log, ranks)


def _run(
    spec: RunSpec,
    folder: Path,
    resume: str | Path,
    allow: Collection[str],
    registry: Registry,
    log: Callable[[str], None],
    ranks: Ranks,
) -> Outcome:
    if ranks.rank:
        log = _silent
    begun = checkpoint_of(folder, resume, say=log, ranks=ranks)
    first_does(ranks, lambda: check_claim(folder / SPEC, spec, registry=registry, allow=allow))
    torch.manual_seed(spec.train.seed)
    model = compose(spec.model, vocab=spec.data.tokenizer.vocab())
    model.loss_means = spec.train.loss_means
    course = Course(spec.model, spec.train.changes, steps=spec.train.steps)
    batches = Batches(
        data=spec.data,
        model=spec.model,
        batch_size=spec.train.batch_size,
        seed=spec.train.seed,
        course=course,
        rank=ranks.rank,
        world_size=ranks.size,
        levels=local_device().type != "cpu",
    )
    if begun is None:
        initialize(model, spec.train.initialize)
    state = new_state(model, spec.train, course=course, ranks=ranks, say=log)
    checkpoints = checkpoints_of(spec, folder, registry, ranks)
    if begun is not None:
        go_on(state, begun, checkpoints, spec, registry=registry, say=log)
    # Only now: a spec whose weights were not to be had would be in the way of the corrected one.
    first_does(ranks, lambda: claim(folder / SPEC, spec, registry=registry))
    if begun is None and spec.model.codebook is not None and spec.model.codebook.learns_from_images:
        log(f"fitting {spec.model.codebook.codes.vocab_size} codes on the run's pictures")
        path = folder / "codebook.safetensors"
        first_does(ranks, lambda: fit_codebook(model, batches, seed=spec.train.seed, path=path))
        if ranks.size > 1 and model.codebook is not None:
            share_first(model.codebook)
    if model.codebook is not None:
        batches.check_codes(model.codebook)
    # Only the first process is watched, and measures.
    observers = [observer.build(folder=folder) for observer in spec.observers.values() if ranks.rank == 0]
    trained = model if state.average is None else cast(FlavaForPreTraining, state.average.module)
    processor = Processor.of(spec.model, spec.data)
    evaluations = {name: evaluation.build() for name, evaluation in spec.evaluate.items()}
    metrics: dict[str, float] = {}
    results: dict[str, RetrievalResult] = {}

    def evaluate() -> Mapping[str, float]:
        metrics.clear()
        whole = whole_model(spec, trained, state.spread)
        if whole is None:
            return {}
        with interruption.at_once():
            for name, evaluation in evaluations.items():
                result = evaluation(whole, processor)
                metrics.update({f"{name}/{key}": value for key, value in result.record.items()})
                if isinstance(result, RetrievalResult):
                    results[name] = result
        return dict(metrics)

    complete, pictures = False, ()
    loading = Loading(batches, spec.data, folder=folder, first=state.step, steps=spec.train.steps)
    with Interruption(alone=ranks.size == 1) as interruption, loading:
        complete = train(state, loading.batch, spec.train, observers, checkpoints, interruption, evaluate)
        if complete:
            finished = whole_model(spec, trained, state.spread)
            try:
                with interruption.at_once():
                    pictures = () if finished is None else _left(spec, folder, finished, processor, results)
            except Interrupted:
                complete = False  # while the finished model was drawn
        complete = not ranks.any_failed(not complete)
    return Outcome(
        complete=complete,
        step=state.step,
        metrics=metrics if complete else {},
        pictures=pictures,
        signal=None
        if complete
        else next((one for one in SIGNALS if ranks.any_failed(interruption.signal == one)), None),
    )


def _left(
    spec: RunSpec,
    folder: Path,
    model: FlavaForPreTraining,
    processor: Processor,
    results: Mapping[str, RetrievalResult],
) -> tuple[Path, ...]:
    """What a complete run leaves besides checkpoints: its pictures, and the averaged model if there is one."""
    if spec.train.ema is not None:
        shutil.rmtree(folder / AVERAGE, ignore_errors=True)  # of the same run, when it had fewer steps
        save_pretrained(model, folder / AVERAGE, processor=processor)
    from ..report.pictures import draw_pictures  # matplotlib takes a second, and only here

    return draw_pictures(folder, model=model, processor=processor, results=results, seed=spec.train.seed)


def fit_codebook(model: FlavaForPreTraining, batches: Batches, *, seed: int, path: Path) -> None:
    """Fit the codebook on the run's own images, and keep it in a safetensors file."""
    codebook = model.codebook
    assert isinstance(codebook, FittedCodebook)
    codebook.fit(batches.codebook_pixels(CODEBOOK_IMAGES), keyed_generator(seed, "codebook"))
    codebook.save(path)


def whole_model(spec: RunSpec, trained: FlavaForPreTraining, shared: Spread | None) -> FlavaForPreTraining | None:
    """On the first of several processes, or the only one, the model whole, to be measured; None on the others."""
    if shared is None or not shared.is_sharded:
        return trained if shared is None or shared.is_first else None
    tensors = shared.whole({"model": trained.state_dict()})
    if not tensors:
        return None
    whole = compose(spec.model, vocab=spec.data.tokenizer.vocab())
    whole.load_state_dict(tensors["model"])
    return whole


def _silent(text: str) -> None:
    """What all processes would say, the first does."""


def checkpoints_of(
    spec: RunSpec | FinetuneSpec, folder: Path, registry: Registry, ranks: Ranks | None = None
) -> Checkpoints:
    """Where the run in a folder keeps its checkpoints."""
    return Checkpoints(
        folder / CHECKPOINTS,
        to_yaml(spec),
        made_with=surroundings(registry, seed=spec.train.seed, world_size=1 if ranks is None else ranks.size),
        ranks=ranks or OneProcess(),
        keep_last=spec.train.keep_last,
        keep_best=spec.train.keep_best,
    )


@contextmanager
def alone_in(folder: Path, ranks: Ranks | None = None) -> Generator[None]:
    """A folder that only this process, or only ``ranks``, train in; a new one is left only if there is something in it.

    What the system refuses to read or write is a RunError.
    """
    with ExitStack() as stack:
        first_does(ranks or OneProcess(), lambda: stack.enter_context(_locked(folder)))
        yield


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with run_lock(folder):
            yield
    except OSError as error:
        raise RunError(f"{folder}: the run cannot go on: {error}") from error
    finally:
        if new and folder.exists() and all(path.name == LOCK for path in folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def deterministic() -> Generator[None]:
    """Only algorithms that give the same numbers every time; outside, what was allowed before."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(mode=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=before)
