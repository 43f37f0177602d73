"""Observers that tell other programs: the numbers arrive, at their steps, and nothing is reached over a network."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import pytest

from flava_parts.errors import InputError
from flava_parts.train.csv_lines import CsvLines
from flava_parts.train.observers import Observer, numbers_of
from flava_parts.train.specs import MLflowSpec, ObserverSpec, TensorBoardSpec, TrackioSpec, WandbSpec

STEPS = [{"step": step, "stream": "pairs", "loss": 1 / step, "loss/mim": float("nan")} for step in (1, 2, 3)]
EVALUATION = {"step": 3, "retrieval/image_to_text/top1": 0.25}


def watch(observer: Observer, first: int = 0) -> None:
    """A run of three steps, from so many on, with an evaluation at its end."""
    observer.begin(step=first, steps=3)
    for record in STEPS[first:]:
        observer.stepped(record)
    observer.evaluated(EVALUATION)
    observer.end()


def test_only_finite_numbers_are_told() -> None:
    """No words, no step."""
    assert {"loss": 1.0} == numbers_of(STEPS[0])


def test_csv_has_a_row_for_each_number(tmp_path: Path) -> None:
    watch(CsvLines(folder=tmp_path))
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))

    assert {"step": "2", "of": "step", "name": "loss", "value": "0.5"} in rows
    assert {"step": "3", "of": "evaluation", "name": "retrieval/image_to_text/top1", "value": "0.25"} == rows[-1]
    assert 3 * 3 + 1 == len(rows)


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_csv_of_a_run_in_two_halves_is_that_of_one(tmp_path: Path, first: int) -> None:
    """What was written after the step that it goes on from, half a row too, is written again."""
    watch(CsvLines(folder=tmp_path / "whole"))
    halves = CsvLines(folder=tmp_path / "halves")
    watch(halves)
    with halves.path.open("a") as file:
        file.write("4,step,lo")
    watch(halves, first)

    assert (tmp_path / "whole" / "metrics.csv").read_bytes() == halves.path.read_bytes()


def test_csv_keeps_the_last_evaluation_of_a_run_that_is_extended(tmp_path: Path) -> None:
    """It is not made again at that step."""
    watch(CsvLines(folder=tmp_path))
    before = (tmp_path / "metrics.csv").read_bytes()
    CsvLines(folder=tmp_path).begin(step=3, steps=5)

    assert before == (tmp_path / "metrics.csv").read_bytes()


@pytest.mark.parametrize("first", [0, 2])
def test_tensorboard_shows_no_step_twice(tmp_path: Path, first: int) -> None:
    """What a killed run wrote after the step that it goes on from is gone, also if that is its beginning."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    observer = TensorBoardSpec().build(folder=tmp_path)
    watch(observer)
    # The clock in a file's name counts in seconds, and the order of names is that of reading.
    for path in (tmp_path / "tensorboard").iterdir():
        path.rename(path.with_name("events.out.tfevents.0000000001.before"))
    watch(observer, first)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()

    assert [1, 2, 3] == [event.step for event in events.Scalars("loss")]


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    """Its own reader finds each curve, point by point."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    watch(TensorBoardSpec().build(folder=tmp_path))
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()

    assert [(1, 1.0), (2, 0.5)] == [(event.step, event.value) for event in events.Scalars("loss")][:2]
    assert [(3, 0.25)] == [(event.step, event.value) for event in events.Scalars("retrieval/image_to_text/top1")]
    assert ["loss", "retrieval/image_to_text/top1"] == events.Tags()["scalars"]


class Heard:
    """Stands for a library: remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        def told(*arguments: Any, **named: Any) -> Heard:
            self.told.append((name, arguments, named))
            return self

        return told


@pytest.mark.parametrize(
    ("spec", "module", "log", "first", "last"),
    [
        (WandbSpec(), "wandb", "log", "init", "finish"),
        (TrackioSpec(), "trackio", "log", "init", "finish"),
        (MLflowSpec(), "mlflow", "log_metrics", "set_tracking_uri", "end_run"),
    ],
    ids=["wandb", "trackio", "mlflow"],
)
def test_a_library_is_told_each_step_and_nothing_else(
    spec: ObserverSpec, module: str, log: str, first: str, last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers at their steps, between beginning and end; offline, in the run's folder, unless asked otherwise."""
    heard = Heard()
    monkeypatch.setitem(sys.modules, module, heard)  # pyright: ignore[reportArgumentType]
    watch(spec.build(folder=tmp_path / "mine"))
    logged = [(arguments[0], named["step"]) for name, arguments, named in heard.told if name == log]

    assert [
        ({"loss": 1.0}, 1),
        ({"loss": 0.5}, 2),
        ({"loss": 1 / 3}, 3),
        ({"retrieval/image_to_text/top1": 0.25}, 3),
    ] == logged
    assert (first, last) == (heard.told[0][0], heard.told[-1][0])
    begun = heard.told[0]
    if module == "wandb":
        assert {"mode": "offline", "dir": str(tmp_path / "mine"), "name": "mine"}.items() <= begun[2].items()
    if module == "mlflow":
        assert (f"sqlite:///{tmp_path / 'mine' / 'mlflow.db'}",) == begun[1]


@pytest.mark.parametrize("spec", [TensorBoardSpec(), WandbSpec(), TrackioSpec(), MLflowSpec()], ids=lambda s: s.type)
def test_a_library_that_is_missing_is_one_line(
    spec: ObserverSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which says how to get it."""
    name = spec.type_name().removeprefix("flava.")
    module = {"tensorboard": "torch.utils.tensorboard"}.get(name, name)
    monkeypatch.setitem(sys.modules, module, None)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=rf"pip install 'flava-parts\[{name}\]'"):
        spec.build(folder=tmp_path).begin(step=0, steps=1)
