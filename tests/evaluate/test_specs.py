"""Evaluations that a run names: measured at its end, under their names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runs import tiny_run

from flava_parts.data.sources.specs import GlossesSpec, ImageFolderSpec
from flava_parts.errors import SpecError
from flava_parts.evaluate.specs import DRAWN_ANYWAY, RetrievalSpec
from flava_parts.train.run import run

GROUPS = ("type=flava.zero_shot", "source.type=flava.emoji", "source.split=held_out")
PROBE = (
    "type=flava.probe",
    "train.type=flava.emoji",
    "train.split=held_out",
    "test.type=flava.emoji",
    "test.split=held_out",
    "c=0.1",
)


def test_a_run_measures_what_it_names(tmp_path: Path) -> None:
    """Shares of a table, and numbers beside it; only retrieval is drawn."""
    changes = ["evaluate.retrieval=null", *(f"evaluate.groups.{change}" for change in GROUPS)]
    changes += [f"evaluate.probe.{change}" for change in PROBE]
    outcome = run(tiny_run(*changes, steps=1), tmp_path, log=lambda _: None)
    measured = {"groups/pictures/top1", "groups/pictures/top5", "groups/classes/top1"}
    measured |= {"probe/pictures/top1", "probe/classes/top1", "probe/c"}
    written = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])

    assert measured == set(outcome.metrics)
    assert {"step": 1, **outcome.metrics} == written
    assert 0.1 == outcome.metrics["probe/c"]
    assert all(0 <= share <= 1 for share in outcome.metrics.values())
    assert ["losses.png"] == [picture.name for picture in outcome.pictures]


def test_retrieval_is_drawn_under_its_name_beside_what_is_drawn_anyway(tmp_path: Path) -> None:
    changes = (
        "evaluate.retrieval=null",
        "evaluate.again={type: flava.retrieval, source: {type: flava.emoji, split: held_out}}",
    )
    outcome = run(tiny_run(*changes, steps=1), tmp_path, log=lambda _: None)

    assert {f"{name}.png" for name in (*DRAWN_ANYWAY, "again")} == {path.name for path in outcome.pictures}
    assert all(path.is_file() for path in outcome.pictures)


def test_sources_that_cannot_be_measured_are_refused() -> None:
    """Where they are named, before anything is trained."""
    for source, lacking in ((GlossesSpec(), "flava.glosses has no image"), (ImageFolderSpec(folder="a"), "no text")):
        with pytest.raises(ValueError, match=lacking):
            RetrievalSpec(source=source)
    with pytest.raises(SpecError, match=r"evaluate\.retrieval\.source: flava\.glosses has no image"):
        tiny_run("evaluate.retrieval.source.type=flava.glosses")
